package accounts_test

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/auth/internal/accounts"
)

// away returns the i-th address that nobody has used.
func away(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}) }

func (w *world) allowGuesses(n int) {
	w.Guesses = ratelimit.NewInProcess(ratelimit.Quota{Events: n, Period: time.Hour}, 0)
}

func TestGuessesAreBoundedFromAllAddressesTogetherAndAlikeForNobody(t *testing.T) {
	const most = 5
	w := newWorld(t)
	w.register(t, "alice")
	w.allowGuesses(most)
	for _, name := range []string{"alice", "nobody"} {
		for i := range most {
			_, err := w.Service.Login(t.Context(), away(i), api.LoginRequest{Username: name, Password: "wrong"})
			require.ErrorIs(t, err, accounts.ErrInvalidCredentials, name)
		}
		for _, text := range []string{"wrong", alicesPassword} {
			_, err := w.Service.Login(t.Context(), away(most), api.LoginRequest{Username: name, Password: text})
			var refused *accounts.TooManyGuesses
			require.ErrorAs(t, err, &refused, name)
			require.InDelta(t, time.Hour.Seconds()/most, refused.RetryAfter.Seconds(), 10)
		}
	}
	for range 2 * most {
		_, err := w.Login(t.Context(), api.LoginRequest{Username: "alice", Password: "wrong"})
		require.ErrorIs(t, err, accounts.ErrInvalidCredentials, "an address with an earlier success is not refused")
	}
	w.good(t, w.login(t, "alice", alicesPassword))
	require.EqualValues(t, 4, w.outcomes(t, "sealpost_auth_logins_total", "too_many_guesses"))
}

func TestGuessesUnderWayAreCounted(t *testing.T) {
	const most = 5
	w := newWorld(t)
	w.register(t, "alice")
	w.allowGuesses(most)
	var checked atomic.Int64
	var all sync.WaitGroup
	for i := range 16 { // as many as may wait
		all.Go(func() {
			_, err := w.Service.Login(t.Context(), away(i), api.LoginRequest{Username: "alice", Password: "wrong"})
			if !errors.Is(err, accounts.ErrTooManyGuesses) {
				checked.Add(1)
			}
		})
	}
	all.Wait()
	require.EqualValues(t, most, checked.Load())
}

func TestWhatIsNoWrongGuessIsNotCounted(t *testing.T) {
	w := newWorld(t)
	w.register(t, "alice")
	w.allowGuesses(1)
	for i := range 3 {
		_, err := w.Service.Login(t.Context(), away(i), api.LoginRequest{Username: "alice", Password: alicesPassword})
		require.NoError(t, err, "a success from a new address")
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	for range 3 {
		_, err := w.Service.Login(gone, away(9), api.LoginRequest{Username: "nobody", Password: "wrong"})
		require.ErrorIs(t, err, context.Canceled, "nothing was checked")
	}
	_, err := w.Service.Login(t.Context(), away(9), api.LoginRequest{Username: "nobody", Password: "wrong"})
	require.ErrorIs(t, err, accounts.ErrInvalidCredentials)
	_, err = w.Service.Login(t.Context(), away(9), api.LoginRequest{Username: "alice", Password: "wrong"})
	require.ErrorIs(t, err, accounts.ErrInvalidCredentials)
	_, err = w.Service.Login(t.Context(), away(9), api.LoginRequest{Username: "alice", Password: "wrong"})
	require.ErrorIs(t, err, accounts.ErrTooManyGuesses)
}

func TestAnAddressIsKnownAfterItsSuccessAndItsMarkTellsNothing(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	w.register(t, "bob")
	known := func(name string) []store.AddressMark {
		t.Helper()
		account, err := w.store.Account(t.Context(), name)
		require.NoError(t, err)
		return account.KnownAddresses
	}
	require.Len(t, known("alice"), 1)
	require.NotEqual(t, known("alice"), known("bob"), "one address has another mark with each account")
	for i, from := range []string{"2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:3::1", "::ffff:192.0.2.1"} {
		_, err := w.Service.Login(t.Context(), netip.MustParseAddr(from), api.LoginRequest{Username: "Alice", Password: alicesPassword})
		require.NoError(t, err)
		require.Len(t, known("alice"), []int{2, 2, 3, 3}[i], from)
	}
	_, err := w.Service.Login(t.Context(), away(1), api.LoginRequest{Username: "alice", Password: "wrong"})
	require.ErrorIs(t, err, accounts.ErrInvalidCredentials)
	require.Len(t, known("alice"), 3, "a wrong password makes nothing known")
	_, err = w.Service.ChangePassword(t.Context(), away(2), s.Identity, api.PasswordRequest{CurrentPassword: alicesPassword, NewPassword: "battery staple"})
	require.NoError(t, err)
	require.Len(t, known("alice"), 4)
}

func TestAKnownAddressHasALaneOfItsOwn(t *testing.T) {
	w := newWorld(t)
	reg := prometheus.NewPedanticRegistry()
	h, err := password.New(password.Config{Params: cheap, Workers: 1, QueueWait: time.Minute, Registry: reg})
	require.NoError(t, err)
	w.Passwords = h
	w.register(t, "alice")
	w.login(t, "alice", alicesPassword)
	w.login(t, "alice", alicesPassword)
	for _, name := range []string{"alice", "nobody", "alice"} {
		_, err := w.Service.Login(t.Context(), away(1), api.LoginRequest{Username: name, Password: "wrong"})
		require.ErrorIs(t, err, accounts.ErrInvalidCredentials)
	}
	families, err := reg.Gather()
	require.NoError(t, err)
	lanes := map[string]uint64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "sealpost_auth_password_queue_wait_seconds" {
				lanes[m.GetLabel()[0].GetValue()] = m.GetHistogram().GetSampleCount()
			}
		}
	}
	require.Equal(t, map[string]uint64{"known": 2, "logins": 3, "registrations": 1}, lanes)
}

func TestStrangersGuessesDoNotKeepAUserFromChangingThePassword(t *testing.T) {
	w := newWorld(t)
	s := w.register(t, "alice")
	w.allowGuesses(1)
	_, err := w.Service.Login(t.Context(), away(1), api.LoginRequest{Username: "alice", Password: "wrong"})
	require.ErrorIs(t, err, accounts.ErrInvalidCredentials)
	change := api.PasswordRequest{CurrentPassword: "wrong", NewPassword: "battery staple"}
	_, err = w.Service.ChangePassword(t.Context(), away(2), s.Identity, change)
	require.ErrorIs(t, err, accounts.ErrInvalidCredentials)
	_, err = w.Service.ChangePassword(t.Context(), away(3), s.Identity, change)
	require.ErrorIs(t, err, accounts.ErrTooManyGuesses, "guesses with a stolen token are bounded, too")
}
