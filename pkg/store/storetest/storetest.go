// Package storetest is the contract suite of the store ports. Every adapter passes it, except the tests of optional ports that it does not
// have. Each test's name is a claim of the ports' doc comments.
package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

// Adapter is what the suite needs of a store.
type Adapter struct {
	// Open makes an empty store, closed when the test ends.
	Open func(t *testing.T) store.Store
	// Reopen closes a store and opens it again, as after a restart.
	Reopen func(t *testing.T, s store.Store) store.Store
	// Purge removes what has passed its time.
	Purge func(ctx context.Context, s store.Store, now time.Time) error
}

// writers is how many writers compete in tests of races.
const writers = 32

type test struct {
	name string
	run  func(t *testing.T, a Adapter)
}

// Run runs the suite.
func Run(t *testing.T, a Adapter) {
	for group, tests := range map[string][]test{
		"accounts": accountTests, "keys": keyTests, "sessions": sessionTests, "meta": metaTests, "log": logTests, "commit": commitTests, "failures": failureTests,
	} {
		t.Run(group, func(t *testing.T) {
			for _, c := range tests {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(t, a)
				})
			}
		})
	}
}

// now returns the current time as stores keep it: UTC, in milliseconds.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// together runs f for 0 … n-1 concurrently, and waits.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-begin
			f(i)
		})
	}
	close(begin)
	all.Wait()
}

func key(name string) store.Key {
	return store.Key{Version: 1, PEM: "pem of " + name, Fingerprint: "fingerprint of " + name, CreatedAt: now()}
}

func account(name string) store.Account {
	return store.Account{Username: name, PasswordHash: "hash of " + name, CreatedAt: now(), LastLogin: now(), Key: key(name)}
}

// open makes a store with accounts.
func open(t *testing.T, a Adapter, names ...string) store.Store {
	s := a.Open(t)
	for _, name := range names {
		require.NoError(t, s.CreateAccount(t.Context(), account(name)))
	}
	return s
}

var failureTests = []test{
	{"a store that is closed says that it is unavailable", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		require.NoError(t, s.Ping(t.Context()))
		require.NoError(t, s.Close())
		for i, err := range everyCall(t.Context(), s) {
			require.ErrorIs(t, err, store.ErrUnavailable, "call %d", i)
		}
	}},
	{"a call whose time is over fails and says that the store is unavailable", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for i, err := range everyCall(ctx, s) {
			require.ErrorIs(t, err, store.ErrUnavailable, "call %d", i)
		}
		stored, err := s.Account(t.Context(), "bob")
		require.NoError(t, err)
		require.Zero(t, stored.Generation)
	}},
}

// everyCall calls every method of the ports once.
func everyCall(ctx context.Context, s store.Store) []error {
	var errs []error
	add := func(err error) { errs = append(errs, err) }
	add(s.Ping(ctx))
	add(s.CreateAccount(ctx, account("Eve")))
	_, err := s.Account(ctx, "bob")
	add(err)
	add(s.RecordLogin(ctx, "bob", store.Login{At: now(), From: 1}))
	add(s.ReplaceHash(ctx, "bob", "hash of Bob", "x"))
	_, err = s.ChangePassword(ctx, "bob", "hash of Bob", "x")
	add(err)
	_, err = s.RaiseGeneration(ctx, "bob")
	add(err)
	_, err = s.RotateKey(ctx, "bob", key("x"), "hash of Bob")
	add(err)
	add(s.ProtectKey(ctx, "bob", "hash of Bob"))
	_, _, err = s.KeyHistory(ctx, "bob", 0, 10)
	add(err)
	_, err = s.ListKeys(ctx, "", 10)
	add(err)
	_, err = s.KeyVersions(ctx, []string{"bob"})
	add(err)
	add(s.OpenSession(ctx, "bob", "s", now()))
	_, err = s.SessionCursor(ctx, "bob", "s")
	add(err)
	_, err = s.OfferSession(ctx, "bob", "s", store.SessionCursor{}, 1)
	add(err)
	add(s.WithdrawOffer(ctx, "bob", "s", store.SessionCursor{}))
	add(s.AdvanceSession(ctx, "bob", "s", "e", 1))
	add(s.ResetSession(ctx, "bob", "s", "e", 0))
	_, err = s.NewEpoch(ctx)
	add(err)
	_, err = s.PutOnce(ctx, "x", []byte("x"))
	add(err)
	_, err = s.InsertEntries(ctx, []store.Entry{entry("bob", 1, 1)})
	add(err)
	_, err = s.InsertMessages(ctx, []store.Message{message(1)})
	add(err)
	_, err = s.Messages(ctx, []store.MessageID{id(1)})
	add(err)
	_, err = s.Decided(ctx, []store.MessageID{id(1)})
	add(err)
	_, err = s.Entries(ctx, "bob", 0, 10)
	add(err)
	_, err = s.FirstAfter(ctx, "bob", 0)
	add(err)
	_, err = s.Tails(ctx, []string{"bob"})
	add(err)
	bob := store.Place{User: "bob", Position: 1}
	_, err = s.EntriesAt(ctx, []store.Place{bob})
	add(err)
	add(s.Keep(ctx, message(1), now()))
	add(s.MarkRead(ctx, bob, now()))
	_, err = s.Receipts(ctx, []store.Place{bob})
	add(err)
	return errs
}

var metaTests = []test{
	{"the epoch is one for all who ask, and stays across a restart", func(t *testing.T, a Adapter) {
		s := open(t, a)
		epochs := make([]string, writers)
		together(writers, func(i int) {
			var err error
			epochs[i], err = s.Epoch(t.Context())
			require.NoError(t, err)
		})
		for _, e := range epochs {
			require.Regexp(t, "^[a-z][a-z0-9]{7,63}$", e)
			require.Equal(t, epochs[0], e)
		}
		s = a.Reopen(t, s)
		again, err := s.Epoch(t.Context())
		require.NoError(t, err)
		require.Equal(t, epochs[0], again)
	}},
	{"a new epoch differs from the old one, and stands", func(t *testing.T, a Adapter) {
		s := open(t, a)
		old, err := s.Epoch(t.Context())
		require.NoError(t, err)
		renewed, err := s.NewEpoch(t.Context())
		require.NoError(t, err)
		require.NotEqual(t, old, renewed)
		require.False(t, store.RestoredEpoch(old))
		require.True(t, store.RestoredEpoch(renewed))
		standing, err := s.Epoch(t.Context())
		require.NoError(t, err)
		require.Equal(t, renewed, standing)
	}},
	{"a store that was given a new epoch before anybody asked keeps it", func(t *testing.T, a Adapter) {
		s := open(t, a)
		first, err := s.NewEpoch(t.Context())
		require.NoError(t, err)
		standing, err := s.Epoch(t.Context())
		require.NoError(t, err)
		require.Equal(t, first, standing)
	}},
	{"of many values put once under a name, one stands for all", func(t *testing.T, a Adapter) {
		s := open(t, a)
		got := make([]string, writers)
		together(writers, func(i int) {
			value, err := s.PutOnce(t.Context(), "server-key", fmt.Appendf(nil, "value %d", i))
			require.NoError(t, err)
			got[i] = string(value)
		})
		for _, v := range got {
			require.Equal(t, got[0], v)
		}
		other, err := s.PutOnce(t.Context(), "other", []byte{0, 1, 2, 255})
		require.NoError(t, err)
		require.Equal(t, []byte{0, 1, 2, 255}, other)
		standing, err := s.Value(t.Context(), "other")
		require.NoError(t, err)
		require.Equal(t, other, standing)
		_, err = s.Value(t.Context(), "never put")
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
}
