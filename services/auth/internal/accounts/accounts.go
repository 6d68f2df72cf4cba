// Package accounts opens accounts and sessions, ends sessions, and changes passwords.
//
// Each token carries its account's generation. Refusing all tokens of an account takes two steps: the store raises the
// generation, then the revocation log learns of it. If the second fails, the caller is told so, and the next login makes
// up for it.
package accounts

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/auth/internal/password"
)

var (
	// ErrInvalidCredentials means that there is no such user, or that the password is another.
	ErrInvalidCredentials = errors.New("invalid credentials")
	// ErrNoAccount means that a token is good, but its account is gone: the store was set back to before it was opened.
	ErrNoAccount = errors.New("the token's account does not exist")
	// ErrSessionsRemain means that the password was changed, but the older tokens could not be refused yet.
	ErrSessionsRemain = errors.New("password changed, but older tokens are not refused yet")
)

const (
	// clockSkew is how far apart the clocks of two nodes may be without a revocation being forgotten too early.
	clockSkew = 2 * time.Minute
	// freshEnough is how stale the revocations may be while a password is changed. They are refreshed every few seconds.
	freshEnough = 15 * time.Second
	// settleTimeout bounds the steps that follow one that cannot be undone; they do not end with the request.
	settleTimeout = 10 * time.Second
	// maxConflicts is how many times a password change starts over because the hash has changed meanwhile.
	maxConflicts = 3
)

// Sessions keeps delivery cursors. See store.Sessions.
type Sessions interface {
	OpenSession(ctx context.Context, username, sessionID string, expiresAt time.Time) error
}

// Revocations refuses tokens. See revocation.Mirror.
type Revocations interface {
	Revoke(ctx context.Context, r revocation.Record) error
	MinGeneration(subject string) int64
	Staleness() time.Duration
}

// Service is the accounts of a deployment.
type Service struct {
	Accounts    store.Accounts
	Sessions    Sessions
	Revocations Revocations
	Passwords   *password.Hasher
	Tokens      *token.Signer
	// MinPasswordBytes is the length of the shortest password that may be chosen.
	MinPasswordBytes int
	Now              func() time.Time
	Log              *slog.Logger
	Metrics          *Metrics
}

// Session is a token that was just issued, and what it says.
type Session struct {
	Token    string
	Identity token.Identity
}

// Profile finds the caller's account.
func (s *Service) Profile(ctx context.Context, caller token.Identity) (store.Account, error) {
	account, err := s.Accounts.Account(ctx, caller.Subject)
	return account, ofCaller(err)
}

// Logout refuses the caller's token, everywhere, from when it returns nil.
func (s *Service) Logout(ctx context.Context, caller token.Identity) error {
	err := s.Revocations.Revoke(ctx, revocation.Record{
		TokenID: caller.TokenID, Subject: caller.Subject, ExpiresAt: caller.ExpiresAt.Add(token.Leeway + clockSkew),
	})
	s.Metrics.logout("one", err)
	return err
}

// LogoutAll refuses all tokens of the caller's account issued up to now, everywhere, from when it returns nil.
func (s *Service) LogoutAll(ctx context.Context, caller token.Identity) error {
	generation, err := s.Accounts.RaiseGeneration(ctx, caller.Subject)
	if err == nil {
		ctx, cancel := settling(ctx)
		defer cancel()
		err = s.refuseBefore(ctx, caller.Subject, generation)
	}
	s.Metrics.logout("all", err)
	return ofCaller(err)
}

// ofCaller says of an account that is not there that it is the caller's.
func ofCaller(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return ErrNoAccount
	}
	return err
}

// refuseBefore refuses the account's tokens of earlier generations. The record outlives every token that can have been
// issued, even while another lifetime was set.
func (s *Service) refuseBefore(ctx context.Context, subject string, generation int64) error {
	return s.Revocations.Revoke(ctx, revocation.Record{
		Subject: subject, MinGeneration: generation, ExpiresAt: s.Now().Add(token.MaxLifetime + token.Leeway + clockSkew),
	})
}

// settling is the context of what has to follow a step that is done, whether or not the client still listens.
func settling(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
}

// issue makes a token of a new session, without opening the session.
func (s *Service) issue(username string, generation int64) (Session, error) {
	var sid [16]byte
	_, _ = rand.Read(sid[:]) // crypto/rand.Read never fails
	raw, id, err := s.Tokens.Issue(username, base64.RawURLEncoding.EncodeToString(sid[:]), generation)
	return Session{Token: raw, Identity: id}, err
}

func (s *Service) openSession(ctx context.Context, session Session) error {
	id := session.Identity
	if err := s.Sessions.OpenSession(ctx, id.Subject, id.SessionID, id.ExpiresAt.Add(token.Leeway+clockSkew)); err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	return nil
}

// checkNewPassword judges a password that somebody wants to have from now on.
func (s *Service) checkNewPassword(field, text string) error {
	switch {
	case len(text) < s.MinPasswordBytes:
		e := api.InvalidField(field, fmt.Sprintf("must be at least %d bytes long", s.MinPasswordBytes))
		e.Code = api.CodeWeakPassword
		e.Field = field
		return e
	case len(text) > api.MaxPasswordBytes:
		return api.InvalidField(field, fmt.Sprintf("must be at most %d bytes long", api.MaxPasswordBytes))
	}
	return nil
}
