package accounts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
)

// ChangePassword replaces the caller's password, refuses all tokens of the account, and opens a new session. A fault of the request
// is an *api.Error, a wrong current password ErrInvalidCredentials. If the tokens cannot be refused, nothing changes and the error
// wraps revocation.ErrUnavailable; if that fails only after the change, the error wraps ErrSessionsRemain.
func (s *Service) ChangePassword(ctx context.Context, from netip.Addr, caller token.Identity, r api.PasswordRequest) (Session, error) {
	session, err := s.changePassword(ctx, visit{from: from, session: true}, caller, r)
	s.Metrics.passwordChanged(err)
	return session, err
}

func (s *Service) changePassword(ctx context.Context, v visit, caller token.Identity, r api.PasswordRequest) (Session, error) {
	if err := s.checkChange(r); err != nil {
		return Session{}, err
	}
	if s.Revocations.Staleness() > freshEnough {
		return Session{}, fmt.Errorf("change a password: %w", revocation.ErrUnavailable)
	}
	account, err := s.replacePassword(ctx, v, caller, r)
	if err != nil {
		return Session{}, err
	}
	ctx, cancel := settling(ctx)
	defer cancel()
	if err := s.refuseBefore(ctx, caller.Subject, account.Generation); err != nil {
		return Session{}, fmt.Errorf("%w: %w", ErrSessionsRemain, err)
	}
	s.rememberAddress(ctx, v, account)
	session, err := s.issue(account.Username, account.Generation)
	if err != nil {
		return Session{}, err
	}
	if err := s.openSession(ctx, &session); err != nil {
		// As at registration: the password is changed, and the new token works without a session.
		s.Log.WarnContext(ctx, "session not opened after a password change", "error", err.Error())
	}
	return session, nil
}

// rememberAddress adds an address from which the password was shown without a login.
func (s *Service) rememberAddress(ctx context.Context, v visit, account store.Account) {
	subject := store.Canonical(account.Username)
	mark := s.Addresses.mark(subject, v.from)
	if mark == 0 || slices.Contains(account.KnownAddresses, mark) {
		return
	}
	if err := s.Accounts.RecordLogin(ctx, subject, store.Login{From: mark}); err != nil {
		s.Log.WarnContext(ctx, "the address of a password change is not remembered", "error", err.Error())
	}
}

func (s *Service) checkChange(r api.PasswordRequest) error {
	switch {
	case r.CurrentPassword == "":
		return api.MissingField("currentPassword")
	case r.NewPassword == "":
		return api.MissingField("newPassword")
	}
	return s.checkNewPassword("newPassword", r.NewPassword)
}

// replacePassword returns the account with its new generation. If the hash changed since it was read, it may belong to the same
// password (see strengthen) or to another, so it is read again.
func (s *Service) replacePassword(ctx context.Context, v visit, caller token.Identity, r api.PasswordRequest) (store.Account, error) {
	next, err := "", error(nil)
	for range maxConflicts {
		var account store.Account
		if account, _, err = s.authenticate(ctx, v, caller.Subject, r.CurrentPassword); err != nil {
			return store.Account{}, err
		}
		if next == "" {
			if next, err = s.Passwords.For(v.shown()).Hash(ctx, r.NewPassword); err != nil {
				return store.Account{}, err
			}
		}
		account.Generation, err = s.Accounts.ChangePassword(ctx, caller.Subject, account.PasswordHash, next)
		if err == nil {
			return account, nil
		}
		if !errors.Is(err, store.ErrConflict) {
			break
		}
	}
	return store.Account{}, fmt.Errorf("change the password: %w", err)
}
