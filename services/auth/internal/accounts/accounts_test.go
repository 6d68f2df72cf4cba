package accounts_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/auth/internal/accounts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRegistrationOpensAnAccountAndASession(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "Alice")
	w.good(t, s)
	require.Equal(t, "Alice", s.Identity.Username)
	require.Equal(t, "alice", s.Identity.Subject)
	require.Zero(t, s.Identity.Generation)
	require.Len(t, s.Identity.SessionID, 22, "16 random bytes")

	account, err := w.Profile(t.Context(), s.Identity)
	require.NoError(t, err)
	require.Equal(t, "Alice", account.Username)
	require.Equal(t, 1, account.Key.Version)
	require.Equal(t, publicKey(), account.Key.PEM)
	require.Len(t, account.Key.Fingerprint, 64)
	require.False(t, account.CreatedAt.IsZero())
	require.True(t, account.CreatedAt.Equal(account.LastLogin))
	require.True(t, strings.HasPrefix(account.PasswordHash, "$argon2id$v=19$m=8,t=1,p=1$"))
	require.NotContains(t, account.PasswordHash, alicesPassword)
}

func TestNamesAreTakenWithoutRegardToCase(t *testing.T) {
	w := newWorld(t)
	w.register(t, "Alice")
	for _, name := range []string{"Alice", "alice", "ALICE"} {
		_, err := w.Register(t.Context(), api.RegisterRequest{Username: name, Password: alicesPassword, PublicKey: publicKey()})
		require.ErrorIs(t, err, store.ErrUsernameTaken)
	}
	require.EqualValues(t, 3, w.outcomes(t, "sealpost_auth_registrations_total", "username_taken"))
}

func TestOfTwoWhoWantOneNameOneGetsIt(t *testing.T) {
	w := newWorld(t)
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := w.Register(t.Context(), api.RegisterRequest{Username: "alice", Password: alicesPassword, PublicKey: publicKey()})
			errs <- err
		}()
	}
	a, b := <-errs, <-errs
	if a != nil {
		a, b = b, a
	}
	require.NoError(t, a)
	require.ErrorIs(t, b, store.ErrUsernameTaken)
}

func TestWhatCannotBeRegisteredIsRefusedByField(t *testing.T) {
	w := newWorld(t)
	good := api.RegisterRequest{Username: "alice", Password: alicesPassword, PublicKey: publicKey()}
	for _, c := range []struct {
		name  string
		spoil func(*api.RegisterRequest)
		code  api.Code
		field string
	}{
		{"no username", func(r *api.RegisterRequest) { r.Username = "" }, api.CodeMissingField, "username"},
		{"no password", func(r *api.RegisterRequest) { r.Password = "" }, api.CodeMissingField, "password"},
		{"no key", func(r *api.RegisterRequest) { r.PublicKey = "" }, api.CodeMissingField, "publicKey"},
		{"short name", func(r *api.RegisterRequest) { r.Username = "al" }, api.CodeInvalidField, "username"},
		{"long name", func(r *api.RegisterRequest) { r.Username = strings.Repeat("a", 31) }, api.CodeInvalidField, "username"},
		{"name with a dot", func(r *api.RegisterRequest) { r.Username = "al.ice" }, api.CodeInvalidField, "username"},
		{"name with a line end", func(r *api.RegisterRequest) { r.Username = "alice\n" }, api.CodeInvalidField, "username"},
		{"short password", func(r *api.RegisterRequest) { r.Password = "1234567" }, api.CodeWeakPassword, "password"},
		{"long password", func(r *api.RegisterRequest) { r.Password = strings.Repeat("x", 1025) }, api.CodeInvalidField, "password"},
	} {
		r := good
		c.spoil(&r)
		_, err := w.Register(t.Context(), r)
		var fault *api.Error
		require.ErrorAs(t, err, &fault, c.name)
		require.Equal(t, c.code, fault.Code, c.name)
		require.Equal(t, c.field, fault.Field, c.name)
		require.Equal(t, 400, fault.Status, c.name)
	}
	bad := good
	bad.PublicKey = "no key"
	_, err := w.Register(t.Context(), bad)
	require.ErrorIs(t, err, publickey.ErrInvalid)
	_, err = w.store.Account(t.Context(), "alice")
	require.ErrorIs(t, err, store.ErrNotFound, "nothing was registered")
	require.EqualValues(t, 10, w.outcomes(t, "sealpost_auth_registrations_total", "invalid_request"))
}

func TestPasswordsAreCountedInBytes(t *testing.T) {
	w := newWorld(t)
	for name, text := range map[string]string{"shortest": "12345678", "longest": strings.Repeat("x", 1024), "umlauts": "ääää"} {
		_, err := w.Register(t.Context(), api.RegisterRequest{Username: name, Password: text, PublicKey: publicKey()})
		require.NoError(t, err)
		w.good(t, w.login(t, name, text))
	}
}

func TestARegistrationThatTheStoreRefusesIsNone(t *testing.T) {
	for _, call := range []string{"Account", "CreateAccount"} {
		w := newWorld(t)
		w.store.set(call, fail(store.ErrUnavailable))
		_, err := w.Register(t.Context(), api.RegisterRequest{Username: "alice", Password: alicesPassword, PublicKey: publicKey()})
		require.ErrorIs(t, err, store.ErrUnavailable)
		require.EqualValues(t, 1, w.outcomes(t, "sealpost_auth_registrations_total", "failed"))
	}
}

func TestARegistrationStandsEvenIfItsFirstSessionCannotBeOpened(t *testing.T) {
	w := newWorld(t)
	w.store.set("OpenSession", fail(store.ErrUnavailable))
	w.good(t, w.register(t, "alice"))
}

func TestLoginOpensASessionOfItsOwn(t *testing.T) {
	w := newWorld(t)
	first := w.register(t, "Alice")
	for _, name := range []string{"Alice", "alice", "ALICE"} {
		s := w.login(t, name, alicesPassword)
		w.good(t, s)
		require.Equal(t, "Alice", s.Identity.Username, "as registered")
		require.NotEqual(t, first.Identity.SessionID, s.Identity.SessionID)
		require.NotEqual(t, first.Identity.TokenID, s.Identity.TokenID)
	}
	w.good(t, first)
	require.EqualValues(t, 3, w.outcomes(t, "sealpost_auth_logins_total", "success"))
}

func TestLoginRecordsItsTime(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	later := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	w.Now = func() time.Time { return later }
	w.login(t, "alice", alicesPassword)
	account, err := w.Profile(t.Context(), s.Identity)
	require.NoError(t, err)
	require.True(t, later.Equal(account.LastLogin))
	require.False(t, later.Equal(account.CreatedAt))
}

func TestASessionStartsWhereTheAccountsFurthestStood(t *testing.T) {
	w := newWorld(t)
	first := w.register(t, "alice").Identity
	require.NoError(t, w.store.AdvanceSession(t.Context(), first.Subject, first.SessionID, "e1", 7))
	second := w.login(t, "alice", alicesPassword).Identity
	require.NoError(t, w.store.AdvanceSession(t.Context(), first.Subject, first.SessionID, "e1", 9))
	cursor, err := w.store.SessionCursor(t.Context(), second.Subject, second.SessionID)
	require.NoError(t, err)
	require.EqualValues(t, 7, cursor.Position, "opened at the login, not at the first poll")
}

func TestUnknownUsersAndWrongPasswordsAreTheSame(t *testing.T) {
	w := newWorld(t)
	w.register(t, "alice")
	var texts []string
	for _, r := range []api.LoginRequest{
		{Username: "alice", Password: "wrong"},
		{Username: "alice", Password: alicesPassword + "\x00"},
		{Username: "alice", Password: strings.Repeat("x", 5000)},
		{Username: "nobody", Password: alicesPassword},
		{Username: "no such pattern", Password: alicesPassword},
	} {
		_, err := w.Login(t.Context(), r)
		require.ErrorIs(t, err, accounts.ErrInvalidCredentials)
		texts = append(texts, err.Error())
	}
	for _, text := range texts {
		require.Equal(t, texts[0], text)
	}
	require.EqualValues(t, 5, w.outcomes(t, "sealpost_auth_logins_total", "invalid_credentials"))
}

func TestAnUnknownUserCostsAHashLikeAKnownOne(t *testing.T) {
	w := newWorld(t)
	w.register(t, "alice")
	reg := prometheus.NewPedanticRegistry()
	h, err := password.New(password.Config{Params: cheap, Workers: 1, QueueWait: time.Minute, Registry: reg})
	require.NoError(t, err)
	w.Passwords = h
	for i, name := range []string{"alice", "nobody"} {
		_, err := w.Login(t.Context(), api.LoginRequest{Username: name, Password: "wrong"})
		require.ErrorIs(t, err, accounts.ErrInvalidCredentials)
		families, err := reg.Gather()
		require.NoError(t, err)
		for _, f := range families {
			if f.GetName() == "sealpost_auth_password_hash_seconds" {
				require.EqualValues(t, i+1, f.GetMetric()[0].GetHistogram().GetSampleCount(), name)
			}
		}
	}
}

func TestALoginNeedsBothFields(t *testing.T) {
	w := newWorld(t)
	for field, r := range map[string]api.LoginRequest{"username": {Password: "x"}, "password": {Username: "alice"}} {
		_, err := w.Login(t.Context(), r)
		var fault *api.Error
		require.ErrorAs(t, err, &fault)
		require.Equal(t, api.CodeMissingField, fault.Code)
		require.Equal(t, field, fault.Field)
	}
}

func TestALoginThatTheStoreRefusesIsNone(t *testing.T) {
	for _, call := range []string{"Account", "OpenSession", "RecordLogin"} {
		w := newWorld(t)
		w.register(t, "alice")
		w.store.set(call, fail(store.ErrUnavailable))
		_, err := w.Login(t.Context(), api.LoginRequest{Username: "alice", Password: alicesPassword})
		require.ErrorIs(t, err, store.ErrUnavailable, call)
	}
}

func TestALoginWhoseClientLeftIsNotHashed(t *testing.T) {
	w := newWorld(t)
	w.register(t, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	w.store.set("Account", func() error { cancel(); return nil })
	_, err := w.Login(ctx, api.LoginRequest{Username: "alice", Password: alicesPassword})
	require.Error(t, err)
	require.NotErrorIs(t, err, accounts.ErrInvalidCredentials)
}

func TestALoginReplacesAHashThatIsWeakerThanTodays(t *testing.T) {
	w := newWorld(t)
	w.register(t, "alice")
	w.hashWith(t, password.Params{MemoryKiB: 16, Time: 2, Parallelism: 1})
	w.login(t, "alice", alicesPassword)
	account, err := w.store.Account(t.Context(), "alice")
	require.NoError(t, err)
	require.Contains(t, account.PasswordHash, "$m=16,t=2,p=1$")
	w.login(t, "alice", alicesPassword)
	again, err := w.store.Account(t.Context(), "alice")
	require.NoError(t, err)
	require.Equal(t, account.PasswordHash, again.PasswordHash, "once is enough")
}

func TestAHashThatCannotBeReplacedIsNoReasonToRefuseALogin(t *testing.T) {
	w := newWorld(t)
	w.register(t, "alice")
	w.hashWith(t, password.Params{MemoryKiB: 16, Time: 1, Parallelism: 1})
	for _, err := range []error{store.ErrConflict, store.ErrUnavailable} {
		w.store.set("ReplaceHash", fail(err))
		w.good(t, w.login(t, "alice", alicesPassword))
	}
}

func TestLogoutRefusesTheTokenEverywhereAndNoOther(t *testing.T) {
	w := newWorld(t)
	other := w.follow(t)
	s, remains := w.register(t, "alice"), w.login(t, "alice", alicesPassword)
	require.NoError(t, w.Logout(t.Context(), s.Identity))
	w.refused(t, s)
	w.good(t, remains)
	require.Eventually(t, func() bool { return other.Revoked(s.Identity) }, 10*time.Second, time.Millisecond)
	record := w.log.Records()[0]
	require.Greater(t, record.ExpiresAt.Sub(s.Identity.ExpiresAt), token.Leeway, "no verifier takes it after that")
}

func TestALogoutThatCannotBeKeptIsNotPromised(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	w.log.SetAway(true)
	require.ErrorIs(t, w.Logout(t.Context(), s.Identity), revocation.ErrUnavailable)
	require.ErrorIs(t, w.LogoutAll(t.Context(), s.Identity), revocation.ErrUnavailable)
	w.good(t, s)
	require.EqualValues(t, 1, w.outcomes(t, "sealpost_auth_logouts_total", "failed"), "of each kind")
}

func TestLogoutAllRefusesEveryTokenIssuedUpToNowAndNoneAfter(t *testing.T) {
	w := newWorld(t)
	other := w.follow(t)
	before := []accounts.Session{w.register(t, "alice"), w.login(t, "alice", alicesPassword)}
	bob := w.register(t, "bob")
	require.NoError(t, w.LogoutAll(t.Context(), before[0].Identity))
	for _, s := range before {
		w.refused(t, s)
		require.Eventually(t, func() bool { return other.Revoked(s.Identity) }, 10*time.Second, time.Millisecond)
	}
	after := w.login(t, "alice", alicesPassword)
	w.good(t, after)
	require.False(t, other.Revoked(after.Identity))
	w.good(t, bob)
}

func TestTheRefusalOfAnAccountOutlivesTheLongestToken(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.LogoutAll(t.Context(), w.register(t, "alice").Identity))
	require.Greater(t, time.Until(w.log.Records()[0].ExpiresAt), token.MaxLifetime+token.Leeway)
}

func TestLogoutAllGoesOnWhenItsClientLeaves(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	w.Accounts = &leaving{Accounts: w.store, leave: cancel}
	require.NoError(t, w.LogoutAll(ctx, s.Identity))
	w.refused(t, s)
}

func TestATokenWithoutAnAccountIsRefusedAsSuch(t *testing.T) {
	w := newWorld(t)
	ghost := token.Identity{Username: "Ghost", Subject: "ghost", TokenID: "t", ExpiresAt: time.Now().Add(time.Hour)}
	_, err := w.Profile(t.Context(), ghost)
	require.ErrorIs(t, err, token.ErrNoAccount)
	require.ErrorIs(t, w.LogoutAll(t.Context(), ghost), token.ErrNoAccount)
	_, err = w.ChangePassword(t.Context(), ghost, api.PasswordRequest{CurrentPassword: alicesPassword, NewPassword: "battery staple"})
	require.ErrorIs(t, err, accounts.ErrInvalidCredentials)
}

func TestABusyMachineSaysSo(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	h, err := password.New(password.Config{Params: cheap, Workers: 1, Queue: 0, QueueWait: time.Nanosecond})
	require.NoError(t, err)
	w.Passwords = h
	busy := func() error {
		_, err := w.Login(t.Context(), api.LoginRequest{Username: "alice", Password: alicesPassword})
		return err
	}
	// Many concurrent hashes for one worker without a queue: some are refused with the right error.
	require.Eventually(t, func() bool {
		errs := make(chan error, 8)
		for range cap(errs) {
			go func() { errs <- busy() }()
		}
		atCapacity := false
		for range cap(errs) {
			err := <-errs
			assert.True(t, err == nil || errors.Is(err, password.ErrAtCapacity), "%v", err)
			atCapacity = atCapacity || err != nil
		}
		return atCapacity
	}, 30*time.Second, time.Millisecond)
	require.Positive(t, w.outcomes(t, "sealpost_auth_logins_total", "at_capacity"))
	w.good(t, s)
}
