// Package directory is the public-key directory: who has which key now, and had before.
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
	// ErrUserNotFound means that nobody is registered under the name.
	ErrUserNotFound = errors.New("user not found")
	// ErrNoAccount means that the caller's account does not exist any more.
	ErrNoAccount = errors.New("the token's account does not exist")
)

// Service is the directory of a deployment.
type Service struct {
	Keys store.Keys
	Now  func() time.Time
}

// History is a user's display name and keys, oldest first, the current one last.
type History struct {
	Username string
	Keys     []store.Key
}

// Current is the key to seal messages for the user with.
func (h History) Current() store.Key { return h.Keys[len(h.Keys)-1] }

// History finds all keys of a user, by the name in any case. A name that nobody can have is not looked for.
func (s *Service) History(ctx context.Context, username string) (History, error) {
	if !api.ValidUsername(username) {
		return History{}, ErrUserNotFound
	}
	display, keys, err := s.Keys.KeyHistory(ctx, username)
	if errors.Is(err, store.ErrNotFound) {
		return History{}, ErrUserNotFound
	}
	return History{Username: display, Keys: keys}, err
}

// List returns up to limit users with their current keys, those after the name after, in the order of their canonical
// names. next is the name to go on from, empty after the last page.
func (s *Service) List(ctx context.Context, after string, limit int) (users []store.UserKey, next string, err error) {
	// One more than asked for tells whether there is a further page.
	users, err = s.Keys.ListKeys(ctx, store.Canonical(after), limit+1)
	if err != nil || len(users) <= limit {
		return users, "", err
	}
	users = users[:limit]
	return users, store.Canonical(users[limit-1].Username), nil
}

// Rotate makes publicKey the caller's key and returns its version. The key that is current already stays so, with its
// version: a repeated request changes nothing.
func (s *Service) Rotate(ctx context.Context, caller token.Identity, publicKey string) (version int, err error) {
	key, err := publickey.Parse(publicKey)
	if err != nil {
		return 0, err
	}
	_, keys, err := s.Keys.KeyHistory(ctx, caller.Subject)
	if err == nil {
		if current := keys[len(keys)-1]; current.Fingerprint == key.Fingerprint {
			return current.Version, nil
		}
		version, err = s.Keys.RotateKey(ctx, caller.Subject, store.Key{
			PEM: key.PEM, Fingerprint: key.Fingerprint, CreatedAt: s.Now().UTC().Truncate(time.Millisecond),
		})
	}
	if errors.Is(err, store.ErrNotFound) {
		return 0, ErrNoAccount
	}
	return version, err
}
