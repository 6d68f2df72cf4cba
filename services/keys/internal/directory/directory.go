// Package directory looks up users' public keys, and replaces them.
package directory

import (
	"context"
	"errors"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
)

var (
	// ErrUserNotFound means that a name is not registered.
	ErrUserNotFound = errors.New("user not found")
	// ErrWrongPassword means that the password that came with a new key is not the account's.
	ErrWrongPassword = errors.New("wrong password")
)

// Store is the part of the store that the directory needs. See store.Accounts and store.Keys.
type Store interface {
	Account(ctx context.Context, username string) (store.Account, error)
	RotateKey(ctx context.Context, username string, key store.Key, provenHash string) (version int, err error)
	ProtectKey(ctx context.Context, username, provenHash string) error
	KeyHistory(ctx context.Context, username string, before, limit int) (display string, keys []store.Key, err error)
	ListKeys(ctx context.Context, after string, limit int) ([]store.UserKey, error)
}

// Passwords compares passwords. See password.Hasher.
type Passwords interface {
	Verify(ctx context.Context, password, hash string) (match, outdated bool, err error)
}

// Service is the directory of a deployment.
type Service struct {
	Store     Store
	Passwords Passwords
	// NeedsPassword asks everybody for the password with a new key; otherwise only those whose key is protected.
	NeedsPassword bool
	Now           func() time.Time
	Metrics       *Metrics
	// Changed is called with the canonical name of a user whose key was, or may have been, replaced; nil for no notification. A
	// notification may be lost, because receivers trust a key they read for a short time only.
	Changed func(user string)
}

// Current returns a user's current key, or ErrUserNotFound. The case of the name does not matter.
func (s *Service) Current(ctx context.Context, username string) (store.UserKey, error) {
	if !api.ValidUsername(username) {
		return store.UserKey{}, ErrUserNotFound // invalid names cannot exist, and must not reach a query
	}
	account, err := s.Store.Account(ctx, username)
	if err != nil {
		return store.UserKey{}, missing(err, ErrUserNotFound)
	}
	return store.UserKey{Username: account.Username, Key: account.Key}, nil
}

// KeyHistory is a page of the keys a user has or had.
type KeyHistory struct {
	// Username is spelled as registered.
	Username string
	// Keys are in the order of their versions.
	Keys []store.Key
	// Next is the version below which the next page, of older keys, begins; 0 if this is the last.
	Next int
}

// History lists up to limit keys of a user, the newest ones below the version before, or of all if that is 0. It returns ErrUserNotFound if
// there is no such user.
func (s *Service) History(ctx context.Context, username string, before, limit int) (KeyHistory, error) {
	if !api.ValidUsername(username) {
		return KeyHistory{}, ErrUserNotFound
	}
	display, keys, err := s.Store.KeyHistory(ctx, store.Canonical(username), before, limit)
	if err != nil {
		return KeyHistory{}, missing(err, ErrUserNotFound)
	}
	page := KeyHistory{Username: display, Keys: keys}
	if len(keys) > 0 && keys[0].Version > 1 { // versions are contiguous from 1
		page.Next = keys[0].Version
	}
	return page, nil
}

// Page lists up to limit users in the order of their canonical names, starting after the name after, which need not exist. next is
// the name to pass for the following page; empty if this is the last.
func (s *Service) Page(ctx context.Context, after string, limit int) (users []store.UserKey, next string, err error) {
	users, err = s.Store.ListKeys(ctx, store.Canonical(after), limit+1)
	if err != nil || len(users) <= limit {
		return users, "", err
	}
	users = users[:limit]
	return users, users[limit-1].Username, nil
}

// Rotation is a new key for an account.
type Rotation struct {
	// PEM is the key.
	PEM string
	// Password is the account's password; empty from a client that sends none.
	Password string
}

// Rotate makes a key the caller's current one and returns its version. If it is the current one already, nothing changes, so a
// client that got no answer may retry. Once the password has come with a key, the account's key is protected: it is not replaced without it, so
// that a stolen token does not give away what is sent from then on. Errors wrap publickey.ErrInvalid, token.ErrNoAccount,
// store.ErrKeyProtected, ErrWrongPassword, password.ErrAtCapacity or the store's.
func (s *Service) Rotate(ctx context.Context, caller token.Identity, r Rotation) (version int, changed bool, err error) {
	key, err := publickey.Parse(r.PEM)
	if err != nil {
		return 0, false, err
	}
	for range maxConflicts {
		version, changed, err = s.rotate(ctx, caller.Subject, key, r.Password)
		if !errors.Is(err, store.ErrConflict) { // the password, or only its hash, changed since it was read
			break
		}
	}
	switch {
	case errors.Is(err, store.ErrKeyProtected), errors.Is(err, ErrWrongPassword):
		s.Metrics.rotated("refused")
	case err == nil && changed:
		s.Metrics.rotated("rotated")
	case err == nil:
		s.Metrics.rotated("unchanged")
	}
	return version, changed, missing(err, token.ErrNoAccount)
}

// maxConflicts is how often a rotation starts over because the password hash changed meanwhile.
const maxConflicts = 3

func (s *Service) rotate(ctx context.Context, subject string, key publickey.Key, password string) (version int, changed bool, err error) {
	account, err := s.Store.Account(ctx, subject)
	if err != nil {
		return 0, false, err
	}
	provenHash, err := s.prove(ctx, account, password)
	if err != nil {
		return 0, false, err
	}
	// Notify also after a failure or if nothing changed: the store may have taken the key without confirming it, and a node may
	// have died before it notified.
	defer s.changed(subject)
	if account.Key.Fingerprint == key.Fingerprint {
		if provenHash != "" && !account.KeyProtected {
			err = s.Store.ProtectKey(ctx, subject, provenHash)
		}
		return account.Key.Version, false, err
	}
	version, err = s.Store.RotateKey(ctx, subject, store.Key{PEM: key.PEM, Fingerprint: key.Fingerprint, CreatedAt: s.Now().UTC()}, provenHash)
	return version, err == nil, err
}

// prove returns the hash that a password matches; empty if there is no password and none is needed.
func (s *Service) prove(ctx context.Context, account store.Account, password string) (provenHash string, err error) {
	if password == "" {
		if s.NeedsPassword || account.KeyProtected {
			return "", store.ErrKeyProtected
		}
		return "", nil
	}
	match, _, err := s.Passwords.Verify(ctx, password, account.PasswordHash)
	switch {
	case err != nil:
		return "", err
	case !match:
		return "", ErrWrongPassword
	}
	return account.PasswordHash, nil
}

func (s *Service) changed(user string) {
	if s.Changed != nil {
		s.Changed(user)
	}
}

// missing replaces a not-found error with what it means to the caller.
func missing(err, meaning error) error {
	if errors.Is(err, store.ErrNotFound) {
		return meaning
	}
	return err
}
