package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/store"
)

// Register opens an account and its first session, for a client at an address. A fault of the request is an *api.Error or wraps publickey.ErrInvalid; a taken
// name is store.ErrUsernameTaken; an overloaded machine gives password.ErrAtCapacity.
func (s *Service) Register(ctx context.Context, from netip.Addr, r api.RegisterRequest) (Session, error) {
	session, err := s.register(ctx, from, r)
	s.Metrics.registered(err)
	return session, err
}

func (s *Service) register(ctx context.Context, from netip.Addr, r api.RegisterRequest) (Session, error) {
	key, err := s.checkRegistration(r)
	if err != nil {
		return Session{}, err
	}
	if err := s.requireFree(ctx, r.Username); err != nil {
		return Session{}, err
	}
	hash, err := s.Passwords.For(password.Requester{Lane: password.Registrations, Address: from}).Hash(ctx, r.Password)
	if err != nil {
		return Session{}, err
	}
	session, err := s.issue(r.Username, 0)
	if err != nil {
		return Session{}, err
	}
	now := s.Now().UTC()
	err = s.Accounts.CreateAccount(ctx, store.Account{
		Username: r.Username, PasswordHash: hash, CreatedAt: now, LastLogin: now,
		Key:            store.Key{Version: 1, PEM: key.PEM, Fingerprint: key.Fingerprint, CreatedAt: now},
		KnownAddresses: store.Remember(nil, s.Addresses.mark(session.Identity.Subject, from)),
	})
	if err != nil {
		return Session{}, fmt.Errorf("create the account: %w", err)
	}
	ctx, cancel := settling(ctx)
	defer cancel()
	if err := s.openSession(ctx, &session); err != nil {
		// The account exists: an error now would be wrong, and the next try would find the name taken. A session that is not known
		// starts at the account's furthest cursor, which is the beginning.
		s.Log.WarnContext(ctx, "first session not opened", "error", err.Error())
	}
	return session, nil
}

func (s *Service) checkRegistration(r api.RegisterRequest) (publickey.Key, error) {
	switch {
	case r.Username == "":
		return publickey.Key{}, api.MissingField("username")
	case r.Password == "":
		return publickey.Key{}, api.MissingField("password")
	case r.PublicKey == "":
		return publickey.Key{}, api.MissingField("publicKey")
	case !api.ValidUsername(r.Username):
		return publickey.Key{}, api.InvalidField("username", "must be 3 to 30 letters, digits or underscores")
	case s.Reserved.has(r.Username):
		return publickey.Key{}, api.InvalidField("username", "is reserved")
	}
	if err := s.checkNewPassword("password", r.Password); err != nil {
		return publickey.Key{}, err
	}
	return publickey.Parse(r.PublicKey)
}

// requireFree avoids hashing for a name that is taken. The store decides between two concurrent registrations of a name.
func (s *Service) requireFree(ctx context.Context, username string) error {
	_, err := s.Accounts.Account(ctx, username)
	switch {
	case err == nil:
		return store.ErrUsernameTaken
	case errors.Is(err, store.ErrNotFound):
		return nil
	}
	return err
}
