// Package store holds the ports of the truth: what must survive any failure. Each adapter (pebble, mongo) implements
// every port and passes the one suite in storetest.
//
// Names: every username that crosses a port as a key is canonical (see Canonical); the spelling chosen at registration
// travels separately as a display name. Times are UTC with millisecond precision.
//
// Errors: whatever a port returns wraps one of the sentinels below. What the driver reports and none of them names is
// ErrUnavailable.
package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"strings"
	"time"
)

var (
	// ErrNotFound means there is no such account, message or entry.
	ErrNotFound = errors.New("not found")
	// ErrUsernameTaken means the name is registered, in whatever case.
	ErrUsernameTaken = errors.New("username taken")
	// ErrConflict means that what the caller read has changed since: read again.
	ErrConflict = errors.New("changed meanwhile")
	// ErrUnavailable means that the store could not be reached or did not answer in time. A write may or may not have
	// happened. Callers answer 503.
	ErrUnavailable = errors.New("store unavailable")
)

// Canonical is the form of a username that keys are made of: names are unique without regard to case.
func Canonical(username string) string { return strings.ToLower(username) }

// Account is a user.
type Account struct {
	// Username is spelled as registered.
	Username     string
	PasswordHash string
	// Generation counts the times that all tokens of the account were refused at once. A token of an earlier
	// generation is no longer good. Counting, unlike comparing times, is indifferent to clocks.
	Generation int64
	CreatedAt  time.Time
	LastLogin  time.Time
	Key        Key
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
	// CreateAccount stores a new account with its first key, atomically: ErrUsernameTaken if the canonical name is in use.
	CreateAccount(ctx context.Context, a Account) error
	// Account finds an account by its name in any case, or returns ErrNotFound.
	Account(ctx context.Context, username string) (Account, error)
	// RecordLogin sets the time of the last login.
	RecordLogin(ctx context.Context, username string, at time.Time) error
	// ReplaceHash stores another hash of the same password, if oldHash is still the stored one; else ErrConflict.
	ReplaceHash(ctx context.Context, username, oldHash, newHash string) error
	// ChangePassword replaces oldHash by newHash and raises the generation, in one atomic step, and returns the new
	// generation; ErrConflict if oldHash is no longer the stored one.
	ChangePassword(ctx context.Context, username, oldHash, newHash string) (generation int64, err error)
	// RaiseGeneration adds one to the account's generation, atomically, and returns the new one.
	RaiseGeneration(ctx context.Context, username string) (generation int64, err error)
}

// UserKey is a user's name and current key.
type UserKey struct {
	Username string
	Key      Key
}

// Keys is the port for the public-key directory.
type Keys interface {
	// RotateKey makes key the account's current key, with the next version, and returns that version. Two concurrent
	// rotations both succeed, with different versions. The version in key is ignored.
	RotateKey(ctx context.Context, username string, key Key) (version int, err error)
	// KeyHistory returns the account's display name and all its keys, oldest first, the current one last. Versions are contiguous from 1.
	KeyHistory(ctx context.Context, username string) (display string, keys []Key, err error)
	// ListKeys returns up to limit users in canonical order, those after the canonical name after.
	ListKeys(ctx context.Context, after string, limit int) ([]UserKey, error)
	// KeyVersions returns the users among the given canonical names that exist, by canonical name, with Key.Version set and
	// the other fields of Key left empty.
	KeyVersions(ctx context.Context, usernames []string) (map[string]UserKey, error)
}

// SessionCursor is where a session stands.
type SessionCursor struct {
	// Epoch is the history of the log that Position belongs to (see Meta.Epoch); empty, which stands for any, in cursors from
	// before epochs were kept.
	Epoch    string
	Position int64
	// Offered, if it is beyond Position, means that an answer up to there is being written somewhere, or was when its
	// node died.
	Offered int64
	// Offers is how many there have been, so that no two are alike: of two nodes that find the offer of a dead one, one may offer
	// the same again.
	Offers int64
}

// Sessions is the port for the delivery cursors of clients that do not keep their own.
type Sessions interface {
	// OpenSession makes a cursor for a new session, at the furthest position any session of the account has reached.
	// It may be forgotten after expiresAt.
	OpenSession(ctx context.Context, username, sessionID string, expiresAt time.Time) error
	// SessionCursor returns the session's cursor; for a session that is not known, the account's furthest.
	SessionCursor(ctx context.Context, username, sessionID string) (SessionCursor, error)
	// OfferSession notes that an answer which will move the cursor to position is about to be written, if the cursor is
	// still what seen says; false means that it is not. For a session that is not known it notes nothing, and is true.
	OfferSession(ctx context.Context, username, sessionID string, seen SessionCursor, position int64) (bool, error)
	// WithdrawOffer takes the offer back that was made with seen and whose answer could not be written, if it still stands.
	WithdrawOffer(ctx context.Context, username, sessionID string, seen SessionCursor) error
	// AdvanceSession moves the session's cursor, and the account's furthest, forward to position; never back within an epoch.
	// What is stored for another epoch is replaced.
	AdvanceSession(ctx context.Context, username, sessionID, epoch string, position int64) error
	// ResetSession is AdvanceSession after the log went back (see Meta.Epoch): what is stored without an epoch is replaced, too.
	// Of two nodes that reset a session to one epoch, the second does not undo what has been delivered in between.
	ResetSession(ctx context.Context, username, sessionID, epoch string, position int64) error
}

// Meta is the port for what there is one of in a deployment.
type Meta interface {
	// Epoch is the random id of this history of the log, the same for every node: 8 to 64 lower-case letters and digits,
	// a letter first. The first call makes it. The answer is never stale.
	Epoch(ctx context.Context) (string, error)
	// NewEpoch replaces the epoch, after a restore, and returns the new one.
	NewEpoch(ctx context.Context) (string, error)
	// PutOnce stores value under name unless there is one already, and returns the value that stands.
	PutOnce(ctx context.Context, name string, value []byte) ([]byte, error)
	// Value returns what stands under name, or ErrNotFound.
	Value(ctx context.Context, name string) ([]byte, error)
}

// NewEpochID makes an id for Meta.Epoch. It begins with a letter, so that it is not taken for a position.
func NewEpochID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return "e" + hex.EncodeToString(b[:])
}

// Store is everything an adapter implements.
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
