package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/store"
)

// Login opens a session, for a client at an address. An unknown user and a wrong password give the same ErrInvalidCredentials after the same
// time, and after too many of either a *TooManyGuesses; an overloaded machine gives password.ErrAtCapacity.
func (s *Service) Login(ctx context.Context, from netip.Addr, r api.LoginRequest) (Session, error) {
	session, err := s.login(ctx, from, r)
	s.Metrics.loggedIn(err)
	return session, err
}

func (s *Service) login(ctx context.Context, from netip.Addr, r api.LoginRequest) (Session, error) {
	switch {
	case r.Username == "":
		return Session{}, api.MissingField("username")
	case r.Password == "":
		return Session{}, api.MissingField("password")
	}
	v := visit{from: from}
	account, outdated, err := s.authenticate(ctx, v, r.Username, r.Password)
	if err != nil {
		return Session{}, err
	}
	if outdated {
		s.strengthen(ctx, v, account, r.Password)
	}
	if err := s.repeatRevocation(ctx, account); err != nil {
		return Session{}, err
	}
	session, err := s.issue(account.Username, account.Generation)
	if err != nil {
		return Session{}, err
	}
	if err := s.openSession(ctx, &session); err != nil {
		return Session{}, err
	}
	subject := session.Identity.Subject
	if err := s.Accounts.RecordLogin(ctx, subject, store.Login{At: s.Now().UTC(), From: s.Addresses.mark(subject, from)}); err != nil {
		return Session{}, fmt.Errorf("record the login: %w", err)
	}
	return session, nil
}

// authenticate finds the account with this name and password, and whether its hash is outdated: see password.Hasher.Verify.
func (s *Service) authenticate(ctx context.Context, v visit, username, text string) (account store.Account, outdated bool, err error) {
	if !api.ValidUsername(username) {
		// The pattern is public, so an early answer reveals nothing; and the name must not reach a query.
		return store.Account{}, false, ErrInvalidCredentials
	}
	account, err = s.Accounts.Account(ctx, username)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.Account{}, false, err
	}
	known := err == nil && s.Addresses.known(account, v.from)
	takeBack, err := s.guess(ctx, v, store.Canonical(username), known)
	if err != nil {
		return store.Account{}, false, err
	}
	match, outdated, err := s.check(ctx, v.requester(known), account, text)
	if err != nil || match {
		takeBack() // an error comes before the check
	}
	if err == nil && !match {
		err = ErrInvalidCredentials
	}
	return account, outdated, err
}

// strengthen stores a hash of the normalized password at the current cost. The login succeeds even if that fails or the password has
// changed meanwhile.
func (s *Service) strengthen(ctx context.Context, v visit, account store.Account, text string) {
	hash, err := s.Passwords.For(v.shown()).Hash(ctx, text)
	if err == nil {
		err = s.Accounts.ReplaceHash(ctx, store.Canonical(account.Username), account.PasswordHash, hash)
	}
	if err != nil {
		s.Log.InfoContext(ctx, "outdated password hash not replaced", "error", err.Error())
		return
	}
	s.Metrics.strengthened.Inc()
}

// repeatRevocation repeats a revocation that failed because the revocation log was unavailable just after the generation was raised.
func (s *Service) repeatRevocation(ctx context.Context, account store.Account) error {
	subject := store.Canonical(account.Username)
	if account.Generation <= s.Revocations.MinGeneration(subject) {
		return nil
	}
	if err := s.refuseBefore(ctx, subject, account.Generation); err != nil {
		return fmt.Errorf("refuse the tokens of earlier generations: %w", err)
	}
	return nil
}
