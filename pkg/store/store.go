// Package store defines the ports for the data that must survive any failure. Each adapter (pebble, mongo) implements every port and passes
// the common suite in storetest.
//
// Names: every username passed as a key is canonical (see Canonical). The spelling chosen at registration is passed separately as a display
// name. Times are UTC with millisecond precision.
//
// Errors: every error of a port wraps one of the sentinels below. Driver errors that match none of the others are ErrUnavailable.
package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
)

var (
	// ErrNotFound means that there is no such account, message or entry.
	ErrNotFound = errors.New("not found")
	// ErrUsernameTaken means that the name is registered, in any case.
	ErrUsernameTaken = errors.New("username taken")
	// ErrConflict means that the data changed since the caller read it: read again.
	ErrConflict = errors.New("changed meanwhile")
	// ErrKeyProtected means that an account's key is replaced with its password only.
	ErrKeyProtected = errors.New("the key is protected")
	// ErrUnavailable means that the store could not be reached or did not answer in time. A write may or may not have
	// happened. Callers answer 503.
	ErrUnavailable = errors.New("store unavailable")
)

// Canonical returns the form of a username used in keys: names are unique regardless of case.
func Canonical(username string) string { return api.FoldUsername(username) }

// Account is a user.
type Account struct {
	// Username is spelled as registered.
	Username     string
	PasswordHash string
	// Generation counts how often all tokens of the account were revoked. Tokens of an earlier generation are invalid. A counter, unlike a
	// comparison of times, does not depend on clocks.
	Generation int64
	CreatedAt  time.Time
	LastLogin  time.Time
	Key        Key
	// KeyProtected says that the key is replaced with the account's password only. See Keys.ProtectKey.
	KeyProtected bool
	// KnownAddresses stand for the addresses from which the account has logged in, the latest first.
	KnownAddresses []AddressMark
}

// AddressMark stands for a client's address with one account: a keyed hash, so that a copy of the store does not tell the address, nor
// whether two accounts have the same. 0 stands for none.
type AddressMark uint64

// MostKnownAddresses is how many addresses an account remembers.
const MostKnownAddresses = 16

// Remember returns known with m as the latest, without the oldest above MostKnownAddresses. It does not change known.
func Remember(known []AddressMark, m AddressMark) []AddressMark {
	if m == 0 {
		return known
	}
	remembered := append(make([]AddressMark, 0, MostKnownAddresses), m)
	for _, k := range known {
		if k != m && len(remembered) < MostKnownAddresses {
			remembered = append(remembered, k)
		}
	}
	return remembered
}

// Login is a proof of the password, from an address.
type Login struct {
	// At is the time of a login; zero for what was no login, and leaves the time of the last one.
	At   time.Time
	From AddressMark
}

// Key is one version of a user's public key.
type Key struct {
	// Version counts from 1.
	Version int
	// PEM is the SPKI block as the client sent it.
	PEM string
	// Fingerprint is the hex SHA-256 of the SPKI DER.
	Fingerprint string
	CreatedAt   time.Time
}

// Accounts is the port for accounts.
type Accounts interface {
	// CreateAccount stores a new account with its first key, atomically. It returns ErrUsernameTaken if the canonical name is in use.
	CreateAccount(ctx context.Context, a Account) error
	// Account finds an account by its name in any case, or returns ErrNotFound.
	Account(ctx context.Context, username string) (Account, error)
	// RecordLogin sets the time of the last login and remembers its address (see Remember), atomically.
	RecordLogin(ctx context.Context, username string, l Login) error
	// ReplaceHash stores another hash of the same password if oldHash is still stored; otherwise it returns ErrConflict.
	ReplaceHash(ctx context.Context, username, oldHash, newHash string) error
	// ChangePassword replaces oldHash by newHash and increments the generation, atomically, and returns the new generation. It returns
	// ErrConflict if oldHash is no longer stored.
	ChangePassword(ctx context.Context, username, oldHash, newHash string) (generation int64, err error)
	// RaiseGeneration increments the account's generation, atomically, and returns the new one.
	RaiseGeneration(ctx context.Context, username string) (generation int64, err error)
}

// KeyPage returns which versions, from first to last, a page of a key history holds. It is empty if last < first. See Keys.KeyHistory.
func KeyPage(current, before, limit int) (first, last int) {
	last = current
	if before > 0 {
		last = min(last, before-1)
	}
	return max(1, last-limit+1), last
}

// UserKey is a user's name and current key.
type UserKey struct {
	Username string
	Key      Key
}

// Keys is the port for the public-key directory.
type Keys interface {
	// RotateKey makes key the account's current key under the next version, and returns that version. key.Version is ignored. Concurrent
	// rotations all succeed, with different versions. provenHash is the password hash that the password which came with the key matched, or
	// empty if none came. With it the key is protected from then on, atomically; if another hash is stored by now, RotateKey returns
	// ErrConflict. Without it, a protected key is not replaced: ErrKeyProtected.
	RotateKey(ctx context.Context, username string, key Key, provenHash string) (version int, err error)
	// ProtectKey protects an account's key from then on if provenHash is still stored; otherwise it returns ErrConflict.
	ProtectKey(ctx context.Context, username, provenHash string) error
	// KeyHistory returns the account's display name and its newest keys below the version before, oldest first; before 0 means up to the
	// current one. It returns up to limit keys, at least 1, and reads no more than that. Versions are contiguous from 1: if the first key's
	// version is above 1, there are older ones.
	KeyHistory(ctx context.Context, username string, before, limit int) (display string, keys []Key, err error)
	// ListKeys returns up to limit users in canonical order, starting after the canonical name after.
	ListKeys(ctx context.Context, after string, limit int) ([]UserKey, error)
	// KeyVersions returns which of the given canonical names exist, by canonical name. Of Key only Version is set.
	KeyVersions(ctx context.Context, usernames []string) (map[string]UserKey, error)
}

// SessionCursor is a session's cursor. It is free, or an offer stands: sessionEvents in storetest lists what each event leads to.
type SessionCursor struct {
	// Epoch is the epoch of Position (see Meta.Epoch). It is empty, which matches any, in cursors from before epochs were kept.
	Epoch    string
	Position int64
	// Offered, if beyond Position, means that an answer up to there is being written, or was when its node died.
	Offered int64
	// Offers counts the session's offers, so that no two look alike: if two nodes find the offer of a dead one, only one of them may make
	// the same offer again.
	Offers int64
}

// Sessions is the port for the session cursors of clients that keep no cursor.
type Sessions interface {
	// OpenSession creates a cursor for a new session, at the furthest position of any session of the account. It may be forgotten after
	// expiresAt.
	OpenSession(ctx context.Context, username, sessionID string, expiresAt time.Time) error
	// SessionCursor returns the session's cursor; for an unknown session, the account's furthest.
	SessionCursor(ctx context.Context, username, sessionID string) (SessionCursor, error)
	// OfferSession records that an answer that moves the cursor to position is about to be written, if the cursor still equals seen;
	// otherwise it returns false. For an unknown session it records nothing and returns true.
	OfferSession(ctx context.Context, username, sessionID string, seen SessionCursor, position int64) (bool, error)
	// WithdrawOffer removes the offer made with seen, whose answer could not be written, if it is still the current one.
	WithdrawOffer(ctx context.Context, username, sessionID string, seen SessionCursor) error
	// AdvanceSession moves the session's cursor, and the account's furthest, forward to position; never back within an epoch. A cursor of
	// another epoch is replaced.
	AdvanceSession(ctx context.Context, username, sessionID, epoch string, position int64) error
	// ResetSession is AdvanceSession for after the log went back (see Meta.Epoch): a cursor without an epoch is replaced as well. If two
	// nodes reset a session to the same epoch, the second does not undo what was delivered in between.
	ResetSession(ctx context.Context, username, sessionID, epoch string, position int64) error
	// BeginEpoch records that a session has begun to read the log in an epoch, from its beginning or its head. It may be forgotten after
	// expiresAt.
	BeginEpoch(ctx context.Context, username, sessionID, epoch string, expiresAt time.Time) error
	// BegunEpoch reports whether a session has begun to read in an epoch: only then are its bare positions known to be of it. The result is
	// never stale.
	BegunEpoch(ctx context.Context, username, sessionID, epoch string) (bool, error)
}

// Meta is the port for values that exist once per deployment.
type Meta interface {
	// Epoch returns the random id of the current epoch of the log, the same on every node: 8 to 64 lower-case letters and digits, starting
	// with a letter. The first call creates it. The result is never stale.
	Epoch(ctx context.Context) (string, error)
	// NewEpoch replaces the epoch, after a restore, and returns the new one.
	NewEpoch(ctx context.Context) (string, error)
	// PutOnce stores value under name unless there is one already, and returns the stored value.
	PutOnce(ctx context.Context, name string, value []byte) ([]byte, error)
	// Value returns the value under name, or ErrNotFound.
	Value(ctx context.Context, name string) ([]byte, error)
}

// restoredMark is the first letter of an epoch that is not the first. Both kinds start with a letter, so that they cannot be taken for a
// position.
const restoredMark = "r"

// FirstEpochID makes an id for the epoch of a new store.
func FirstEpochID() string { return "e" + randomID() }

// NextEpochID makes an id for the epoch after a restore.
func NextEpochID() string { return restoredMark + randomID() }

// RestoredEpoch reports whether an epoch follows a restore. Then a position may be from an earlier epoch.
func RestoredEpoch(epoch string) bool { return strings.HasPrefix(epoch, restoredMark) }

func randomID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return hex.EncodeToString(b[:])
}

// Store is the set of ports that every adapter implements.
type Store interface {
	Accounts
	Keys
	Sessions
	Meta
	Log
	// Ping reports whether the store answers.
	Ping(ctx context.Context) error
	Close() error
}
