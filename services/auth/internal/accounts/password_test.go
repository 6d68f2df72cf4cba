package accounts_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/auth/internal/accounts"
)

// leaving is a store whose client disconnects just after an irreversible step.
type leaving struct {
	store.Accounts
	leave func()
}

func (l *leaving) RaiseGeneration(ctx context.Context, username string) (int64, error) {
	defer l.leave()
	return l.Accounts.RaiseGeneration(ctx, username)
}

func (l *leaving) ChangePassword(ctx context.Context, username, oldHash, newHash string) (int64, error) {
	defer l.leave()
	return l.Accounts.ChangePassword(ctx, username, oldHash, newHash)
}

func TestTheNextLoginMakesUpForARefusalThatFailed(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	w.log.SetAway(true)
	require.ErrorIs(t, w.LogoutAll(t.Context(), s.Identity), revocation.ErrUnavailable)
	_, err := w.Login(t.Context(), api.LoginRequest{Username: "alice", Password: alicesPassword})
	require.ErrorIs(t, err, revocation.ErrUnavailable, "not before the older tokens are refused")

	w.log.SetAway(false)
	w.good(t, w.login(t, "alice", alicesPassword))
	w.refused(t, s)
	w.login(t, "alice", alicesPassword)
	require.Len(t, w.log.Records(), 1, "once is enough")
}

func TestAPasswordChangeEndsAllSessionsAndOpensANewOne(t *testing.T) {
	w := newWorld(t)
	before := []accounts.Session{w.register(t, "Alice"), w.login(t, "alice", alicesPassword)}
	s, err := w.ChangePassword(t.Context(), before[0].Identity, api.PasswordRequest{CurrentPassword: alicesPassword, NewPassword: "battery staple"})
	require.NoError(t, err)
	w.good(t, s)
	require.Equal(t, "Alice", s.Identity.Username)
	require.EqualValues(t, 1, s.Identity.Generation)
	for _, old := range before {
		w.refused(t, old)
	}
	_, err = w.Login(t.Context(), api.LoginRequest{Username: "alice", Password: alicesPassword})
	require.ErrorIs(t, err, accounts.ErrInvalidCredentials)
	w.good(t, w.login(t, "alice", "battery staple"))
	w.good(t, s)
}

func TestAPasswordChangeThatIsRefusedChangesNothing(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	good := api.PasswordRequest{CurrentPassword: alicesPassword, NewPassword: "battery staple"}
	for _, c := range []struct {
		name    string
		request api.PasswordRequest
		want    error
	}{
		{"no current password", api.PasswordRequest{NewPassword: good.NewPassword}, &api.Error{Code: api.CodeMissingField}},
		{"no new password", api.PasswordRequest{CurrentPassword: alicesPassword}, &api.Error{Code: api.CodeMissingField}},
		{"a short one", api.PasswordRequest{CurrentPassword: alicesPassword, NewPassword: "1234567"}, &api.Error{Code: api.CodeWeakPassword}},
		{"a long one", api.PasswordRequest{CurrentPassword: alicesPassword, NewPassword: strings.Repeat("x", 1025)}, &api.Error{Code: api.CodeInvalidField}},
		{"a wrong current one", api.PasswordRequest{CurrentPassword: "wrong", NewPassword: good.NewPassword}, accounts.ErrInvalidCredentials},
	} {
		_, err := w.ChangePassword(t.Context(), s.Identity, c.request)
		require.ErrorIs(t, err, c.want, c.name)
	}
	w.store.set("ChangePassword", fail(store.ErrUnavailable))
	_, err := w.ChangePassword(t.Context(), s.Identity, good)
	require.ErrorIs(t, err, store.ErrUnavailable)
	w.good(t, s)
	w.good(t, w.login(t, "alice", alicesPassword))
	require.Empty(t, w.log.Records())
}

// stale is a mirror that has not heard from its log for a minute.
type stale struct{ accounts.Revocations }

func (stale) Staleness() time.Duration { return time.Minute }

func TestAPasswordIsNotChangedWhileTokensCannotBeRefused(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	w.Revocations = stale{w.mirror}
	_, err := w.ChangePassword(t.Context(), s.Identity, api.PasswordRequest{CurrentPassword: alicesPassword, NewPassword: "battery staple"})
	require.ErrorIs(t, err, revocation.ErrUnavailable)
	require.NotErrorIs(t, err, accounts.ErrSessionsRemain)
	w.good(t, w.login(t, "alice", alicesPassword))
}

func TestAPasswordChangeWhoseRefusalFailsSaysSoAndTheNextLoginMakesUpForIt(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	w.store.set("ChangePassword", func() error { w.log.SetAway(true); return nil })
	_, err := w.ChangePassword(t.Context(), s.Identity, api.PasswordRequest{CurrentPassword: alicesPassword, NewPassword: "battery staple"})
	require.ErrorIs(t, err, accounts.ErrSessionsRemain)

	w.log.SetAway(false)
	w.good(t, w.login(t, "alice", "battery staple"))
	w.refused(t, s)
}

func TestAPasswordChangeGoesOnWhenItsClientLeaves(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	w.Accounts = &leaving{Accounts: w.store, leave: cancel}
	after, err := w.ChangePassword(ctx, s.Identity, api.PasswordRequest{CurrentPassword: alicesPassword, NewPassword: "battery staple"})
	require.NoError(t, err)
	w.refused(t, s)
	w.good(t, after)
}

func TestAPasswordChangeStandsEvenIfItsSessionCannotBeOpened(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	w.store.set("OpenSession", fail(store.ErrUnavailable))
	after, err := w.ChangePassword(t.Context(), s.Identity, api.PasswordRequest{CurrentPassword: alicesPassword, NewPassword: "battery staple"})
	require.NoError(t, err)
	w.good(t, after)
}

func TestAPasswordChangeSurvivesARehashMeanwhile(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	once := sync.OnceValue(func() error {
		account, err := w.store.Store.Account(t.Context(), "alice")
		if err != nil {
			return err
		}
		hash, err := w.Passwords.Hash(t.Context(), alicesPassword)
		if err != nil {
			return err
		}
		return w.store.Store.ReplaceHash(t.Context(), "alice", account.PasswordHash, hash)
	})
	w.store.set("ChangePassword", once)
	after, err := w.ChangePassword(t.Context(), s.Identity, api.PasswordRequest{CurrentPassword: alicesPassword, NewPassword: "battery staple"})
	require.NoError(t, err)
	w.good(t, after)
	w.good(t, w.login(t, "alice", "battery staple"))
}

func TestOfTwoPasswordChangesAtATimeOneWins(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	next := []string{"battery staple", "tower of power"}
	errs := make([]error, len(next))
	var wg sync.WaitGroup
	for i, text := range next {
		wg.Go(func() {
			_, errs[i] = w.ChangePassword(t.Context(), s.Identity, api.PasswordRequest{CurrentPassword: alicesPassword, NewPassword: text})
		})
	}
	wg.Wait()
	won := 0
	if errs[won] != nil {
		won = 1
	}
	require.NoError(t, errs[won])
	require.ErrorIs(t, errs[1-won], accounts.ErrInvalidCredentials, "by then the current password was another")
	w.good(t, w.login(t, "alice", next[won]))
}

func TestAHashThatNeverStandsStillIsGivenUp(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	w.store.set("ChangePassword", fail(store.ErrConflict))
	_, err := w.ChangePassword(t.Context(), s.Identity, api.PasswordRequest{CurrentPassword: alicesPassword, NewPassword: "battery staple"})
	require.ErrorIs(t, err, store.ErrConflict)
}
