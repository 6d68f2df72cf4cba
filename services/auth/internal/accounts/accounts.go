// Package accounts opens accounts and sessions, ends sessions, and changes passwords.
//
// Each token carries its account's generation. Refusing all tokens of an account takes two steps: the store raises the generation,
// then the revocation log gets a record of it. If the second step fails, the caller gets an error, and the next login repeats the
// step.
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
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
)

var (
	// ErrInvalidCredentials means that the user does not exist or the password is wrong.
	ErrInvalidCredentials = errors.New("invalid credentials")
	// ErrSessionsRemain means that the password was changed, but older tokens could not be refused yet.
	ErrSessionsRemain = errors.New("the password was changed, but older tokens are not refused yet")
)

const (
	// clockSkew is the largest clock difference of two nodes at which no revocation is forgotten too early.
	clockSkew = 2 * time.Minute
	// freshEnough is how old the known revocations may be when a password is changed. They are refreshed every few seconds.
	freshEnough = 15 * time.Second
	// settleTimeout bounds the steps that follow an irreversible one; they do not end with the request.
	settleTimeout = 10 * time.Second
	// maxConflicts is how often a password change starts over because the hash changed meanwhile.
	maxConflicts = 3
)

// Sessions keeps delivery cursors. See store.Sessions.
type Sessions interface {
	OpenSession(ctx context.Context, username, sessionID string, expiresAt time.Time) error
	SessionCursor(ctx context.Context, username, sessionID string) (store.SessionCursor, error)
}

// Revocations refuses tokens. See revocation.Mirror.
type Revocations interface {
	Revoke(ctx context.Context, r revocation.Record) error
	MinGeneration(subject string) int64
	Staleness() time.Duration
}

// Service manages the accounts of a deployment.
type Service struct {
	Accounts    store.Accounts
	Sessions    Sessions
	Revocations Revocations
	Passwords   *password.Hasher
	Tokens      *token.Signer
	// Guesses bound the wrong passwords for an account, from all addresses that it does not know.
	Guesses   ratelimit.Limiter
	Addresses Addresses
	// MinPasswordBytes is the minimum length of a new password.
	MinPasswordBytes int
	// Reserved are the names that nobody can register. Accounts that have one keep it.
	Reserved Reserved
	Now      func() time.Time
	Log      *slog.Logger
	Metrics  *Metrics
}

// Session is a newly issued token and its claims.
type Session struct {
	Token    string
	Identity token.Identity
	// Begin is where the session's polls begin if its client keeps no cursor; nil if that is not known.
	Begin *store.SessionCursor
}

// Profile returns the caller's account.
func (s *Service) Profile(ctx context.Context, caller token.Identity) (store.Account, error) {
	account, err := s.Accounts.Account(ctx, caller.Subject)
	return account, ofCaller(err)
}

// Logout revokes the caller's token. Once it returns nil, the token is refused everywhere.
func (s *Service) Logout(ctx context.Context, caller token.Identity) error {
	err := s.Revocations.Revoke(ctx, revocation.Record{
		TokenID: caller.TokenID, Subject: caller.Subject, ExpiresAt: caller.ExpiresAt.Add(token.Leeway + clockSkew),
	})
	s.Metrics.logout("one", err)
	return err
}

// LogoutAll revokes all tokens of the caller's account issued so far. Once it returns nil, they are refused everywhere.
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

// ofCaller maps a missing account to token.ErrNoAccount: it is the caller's.
func ofCaller(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return token.ErrNoAccount
	}
	return err
}

// refuseBefore revokes the account's tokens of earlier generations. The record outlives every token that can have been issued, even
// under another lifetime setting.
func (s *Service) refuseBefore(ctx context.Context, subject string, generation int64) error {
	return s.Revocations.Revoke(ctx, revocation.Record{
		Subject: subject, MinGeneration: generation, ExpiresAt: s.Now().Add(token.MaxLifetime + token.Leeway + clockSkew),
	})
}

// settling returns the context for the steps that follow an irreversible one. It does not end when the client goes away.
func settling(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
}

// issue makes a token for a new session, without opening the session.
func (s *Service) issue(username string, generation int64) (Session, error) {
	var sid [16]byte
	_, _ = rand.Read(sid[:]) // crypto/rand.Read never fails
	raw, id, err := s.Tokens.Issue(username, base64.RawURLEncoding.EncodeToString(sid[:]), generation)
	return Session{Token: raw, Identity: id}, err
}

func (s *Service) openSession(ctx context.Context, session *Session) error {
	id := session.Identity
	if err := s.Sessions.OpenSession(ctx, id.Subject, id.SessionID, id.ExpiresAt.Add(token.Leeway+clockSkew)); err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	begin, err := s.Sessions.SessionCursor(ctx, id.Subject, id.SessionID)
	if err != nil {
		s.Log.InfoContext(ctx, "the first answer to a client without a cursor is not confirmed", "error", err.Error())
		return nil
	}
	session.Begin = &begin
	return nil
}

// checkNewPassword checks a password that a user wants to set. Its length is counted as it was sent. Normalization may make it
// shorter, but at least half of the minimum must remain: three wide spaces are nine bytes, and no password.
func (s *Service) checkNewPassword(field, text string) error {
	least := (s.MinPasswordBytes + 1) / 2
	switch {
	case len(text) < s.MinPasswordBytes:
		return weakPassword(field, fmt.Sprintf("must be at least %d bytes long", s.MinPasswordBytes))
	case len(password.Normalized(text)) < least:
		return weakPassword(field, fmt.Sprintf("must be at least %d bytes long after Unicode normalization", least))
	case len(text) > api.MaxPasswordBytes:
		return api.InvalidField(field, fmt.Sprintf("must be at most %d bytes long", api.MaxPasswordBytes))
	}
	return nil
}

func weakPassword(field, fault string) *api.Error {
	e := api.InvalidField(field, fault)
	e.Code = api.CodeWeakPassword
	e.Field = field
	return e
}
