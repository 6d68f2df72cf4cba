package storetest

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

var accountTests = []test{
	{"an account is read back as it was stored, by its name in any case", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		want := account("BobTheBuilder_1")
		want.Generation = 3
		require.NoError(t, s.CreateAccount(t.Context(), want))
		for _, name := range []string{"BobTheBuilder_1", "bobthebuilder_1", "BOBTHEBUILDER_1"} {
			got, err := s.Account(t.Context(), name)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
		s = a.Reopen(t, s)
		got, err := s.Account(t.Context(), "bobthebuilder_1")
		require.NoError(t, err)
		require.Equal(t, want, got)
	}},
	{"of many who register one name in different cases, one succeeds", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		var won atomic.Int64
		spellings := []string{"bob", "Bob", "BOB", "bOB"}
		together(writers, func(i int) {
			mine := account(spellings[i%len(spellings)])
			mine.PasswordHash = fmt.Sprint(i)
			err := s.CreateAccount(t.Context(), mine)
			if err == nil {
				won.Add(1)
				return
			}
			require.ErrorIs(t, err, store.ErrUsernameTaken)
		})
		require.EqualValues(t, 1, won.Load())
		got, err := s.Account(t.Context(), "bob")
		require.NoError(t, err)
		_, keys, err := s.KeyHistory(t.Context(), "bob", 0, 10)
		require.NoError(t, err)
		require.Equal(t, []store.Key{got.Key}, keys, "the loser's key was stored")
	}},
	{"what is about no account says so", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		_, err := s.Account(t.Context(), "nobody")
		require.ErrorIs(t, err, store.ErrNotFound)
		require.ErrorIs(t, s.RecordLogin(t.Context(), "nobody", store.Login{At: now()}), store.ErrNotFound)
		require.ErrorIs(t, s.ReplaceHash(t.Context(), "nobody", "a", "b"), store.ErrNotFound)
		_, err = s.ChangePassword(t.Context(), "nobody", "a", "b")
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = s.RaiseGeneration(t.Context(), "nobody")
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = s.RotateKey(t.Context(), "nobody", key("x"), "")
		require.ErrorIs(t, err, store.ErrNotFound)
		_, _, err = s.KeyHistory(t.Context(), "nobody", 0, 10)
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
	{"a login is recorded, and nothing else changes", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		before, err := s.Account(t.Context(), "bob")
		require.NoError(t, err)
		at := now().Add(time.Hour)
		require.NoError(t, s.RecordLogin(t.Context(), "Bob", store.Login{At: at}))
		after, err := s.Account(t.Context(), "bob")
		require.NoError(t, err)
		before.LastLogin = at
		require.Equal(t, before, after)
	}},
	{"an account remembers the addresses of its latest logins, each once", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		known := func() []store.AddressMark {
			t.Helper()
			got, err := s.Account(t.Context(), "bob")
			require.NoError(t, err)
			return got.KnownAddresses
		}
		login := func(from store.AddressMark) {
			t.Helper()
			require.NoError(t, s.RecordLogin(t.Context(), "Bob", store.Login{At: now(), From: from}))
		}
		require.Empty(t, known())
		const large = 1<<64 - 7
		for _, from := range []store.AddressMark{large, 2, large, 0} { // 0 is no address
			login(from)
		}
		require.Equal(t, []store.AddressMark{large, 2}, known())
		before, err := s.Account(t.Context(), "bob")
		require.NoError(t, err)
		require.NoError(t, s.RecordLogin(t.Context(), "bob", store.Login{From: 2}))
		after, err := s.Account(t.Context(), "bob")
		require.NoError(t, err)
		require.Equal(t, before.LastLogin, after.LastLogin, "that was no login")
		require.Equal(t, []store.AddressMark{2, large}, after.KnownAddresses)
		for from := range store.AddressMark(store.MostKnownAddresses - 1) {
			login(100 + from)
		}
		require.Len(t, known(), store.MostKnownAddresses)
		require.NotContains(t, known(), store.AddressMark(large), "the one that was used longest ago")
		require.Contains(t, known(), store.AddressMark(2))

		_, err = s.RaiseGeneration(t.Context(), "bob")
		require.NoError(t, err)
		_, err = s.ChangePassword(t.Context(), "bob", "hash of Bob", "new")
		require.NoError(t, err)
		require.Len(t, known(), store.MostKnownAddresses, "other changes leave them")
	}},
	{"of logins at once each address is remembered", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		together(writers, func(i int) {
			require.NoError(t, s.RecordLogin(t.Context(), "bob", store.Login{At: now(), From: store.AddressMark(1 + i)}))
		})
		got, err := s.Account(t.Context(), "bob")
		require.NoError(t, err)
		require.Len(t, got.KnownAddresses, min(writers, store.MostKnownAddresses))
	}},
	{"an account begins with the address of its registration, and protected if it is to be", func(t *testing.T, a Adapter) {
		s := open(t, a)
		carol := account("Carol")
		carol.KnownAddresses, carol.KeyProtected = []store.AddressMark{1 << 63}, true
		require.NoError(t, s.CreateAccount(t.Context(), carol))
		got, err := s.Account(t.Context(), "carol")
		require.NoError(t, err)
		require.Equal(t, carol, got)
	}},
	{"a hash is replaced only by who knows the old one, and the generation stays", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		require.ErrorIs(t, s.ReplaceHash(t.Context(), "bob", "wrong", "new"), store.ErrConflict)
		require.NoError(t, s.ReplaceHash(t.Context(), "bob", "hash of Bob", "new"))
		got, err := s.Account(t.Context(), "bob")
		require.NoError(t, err)
		require.Equal(t, "new", got.PasswordHash)
		require.Zero(t, got.Generation)
	}},
	{"of many who change one password at once, one succeeds and the generation rises by one", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		var won atomic.Int64
		together(writers, func(i int) {
			generation, err := s.ChangePassword(t.Context(), "bob", "hash of Bob", fmt.Sprint("new ", i))
			if errors.Is(err, store.ErrConflict) {
				return
			}
			require.NoError(t, err)
			require.EqualValues(t, 1, generation)
			won.Add(1)
		})
		require.EqualValues(t, 1, won.Load())
		got, err := s.Account(t.Context(), "bob")
		require.NoError(t, err)
		require.EqualValues(t, 1, got.Generation)
		require.True(t, strings.HasPrefix(got.PasswordHash, "new "))
	}},
	{"each raise of the generation counts", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob", "Carol")
		got := make([]int64, writers)
		together(writers, func(i int) {
			var err error
			got[i], err = s.RaiseGeneration(t.Context(), "bob")
			require.NoError(t, err)
		})
		slices.Sort(got)
		for i, g := range got {
			require.EqualValues(t, i+1, g)
		}
		carol, err := s.Account(t.Context(), "carol")
		require.NoError(t, err)
		require.Zero(t, carol.Generation)
	}},
}

var keyTests = []test{
	{"a protected key is not replaced without the password", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob", "Carol")
		require.ErrorIs(t, s.ProtectKey(t.Context(), "nobody", "hash"), store.ErrNotFound)
		_, err := s.RotateKey(t.Context(), "bob", key("second"), "")
		require.NoError(t, err)
		require.ErrorIs(t, s.ProtectKey(t.Context(), "bob", "another"), store.ErrConflict)
		require.NoError(t, s.ProtectKey(t.Context(), "BOB", "hash of Bob"))
		_, err = s.RotateKey(t.Context(), "bob", key("third"), "")
		require.ErrorIs(t, err, store.ErrKeyProtected)
		bob, err := s.Account(t.Context(), "bob")
		require.NoError(t, err)
		require.True(t, bob.KeyProtected)
		require.Equal(t, "pem of second", bob.Key.PEM)
		require.NoError(t, s.RecordLogin(t.Context(), "bob", store.Login{At: now(), From: 7})) // other changes keep it
		bob, err = s.Account(t.Context(), "bob")
		require.NoError(t, err)
		require.True(t, bob.KeyProtected)
		require.Equal(t, []store.AddressMark{7}, bob.KnownAddresses)
		_, err = s.RotateKey(t.Context(), "bob", key("third"), "another")
		require.ErrorIs(t, err, store.ErrConflict)
		version, err := s.RotateKey(t.Context(), "bob", key("third"), "hash of Bob")
		require.NoError(t, err)
		require.Equal(t, 3, version)
		_, err = s.RotateKey(t.Context(), "bob", key("fourth"), "")
		require.ErrorIs(t, err, store.ErrKeyProtected)
		carol, err := s.Account(t.Context(), "carol")
		require.NoError(t, err)
		require.False(t, carol.KeyProtected)
		_, err = s.RotateKey(t.Context(), "carol", key("second"), "hash of Carol")
		require.NoError(t, err)
		carol, err = s.Account(t.Context(), "carol")
		require.NoError(t, err)
		require.True(t, carol.KeyProtected, "in the same write")
		require.Equal(t, "pem of second", carol.Key.PEM)
	}},
	{"once a key is protected, nobody who was on the way replaces it without the password", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		versions := make([]int, writers)
		var protected time.Time
		began := make([]time.Time, writers)
		together(writers, func(i int) {
			if i == 0 {
				require.NoError(t, s.ProtectKey(t.Context(), "bob", "hash of Bob"))
				protected = time.Now()
				return
			}
			began[i] = time.Now()
			var err error
			if versions[i], err = s.RotateKey(t.Context(), "bob", key(fmt.Sprint(i)), ""); err != nil {
				require.ErrorIs(t, err, store.ErrKeyProtected)
			}
		})
		bob, err := s.Account(t.Context(), "bob")
		require.NoError(t, err)
		require.True(t, bob.KeyProtected, "a rotation under way does not take it back")
		for i, v := range versions {
			if i > 0 && v > 0 {
				require.False(t, began[i].After(protected), "writer %d", i)
			}
		}
		_, err = s.RotateKey(t.Context(), "bob", key("late"), "")
		require.ErrorIs(t, err, store.ErrKeyProtected)
	}},
	{"many who rotate a key at once get different versions, and all are in the history", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		versions := make([]int, writers)
		together(writers, func(i int) {
			var err error
			k := key(fmt.Sprint(i))
			k.Version = 77 // ignored
			versions[i], err = s.RotateKey(t.Context(), "BOB", k, "")
			require.NoError(t, err)
		})
		display, keys, err := s.KeyHistory(t.Context(), "bob", 0, writers+1)
		require.NoError(t, err)
		require.Equal(t, "Bob", display)
		require.Len(t, keys, writers+1)
		for i, k := range keys {
			require.Equal(t, i+1, k.Version)
		}
		for i, v := range versions {
			require.Equal(t, fmt.Sprint("pem of ", i), keys[v-1].PEM)
		}
		got, err := s.Account(t.Context(), "bob")
		require.NoError(t, err)
		require.Equal(t, keys[len(keys)-1], got.Key)
	}},
	{"a page of a history is the newest keys below a version, oldest first", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob", "Bob2", "Bo")
		const versions = 7
		for _, name := range []string{"bob", "bob2", "bo"} { // the neighbours' keys are theirs
			for v := 2; v <= versions; v++ {
				_, err := s.RotateKey(t.Context(), name, key(fmt.Sprint(name, v)), "")
				require.NoError(t, err)
			}
		}
		for _, c := range []struct{ before, limit, first, last int }{
			{0, 100, 1, 7}, {0, 7, 1, 7}, {0, 6, 2, 7}, {0, 3, 5, 7}, {0, 1, 7, 7}, {8, 3, 5, 7}, {math.MaxInt32, 1, 7, 7},
			{7, 3, 4, 6}, {7, 1, 6, 6}, {5, 3, 2, 4}, {2, 3, 1, 1}, {5, math.MaxInt32, 1, 4}, {1, 3, 1, 0},
		} {
			display, keys, err := s.KeyHistory(t.Context(), "BOB", c.before, c.limit)
			require.NoError(t, err)
			require.Equal(t, "Bob", display)
			require.Len(t, keys, c.last-c.first+1, "%+v", c)
			for i, k := range keys {
				require.Equal(t, c.first+i, k.Version, "%+v", c)
				if k.Version > 1 {
					require.Equal(t, fmt.Sprint("pem of bob", k.Version), k.PEM, "%+v", c)
				}
			}
		}
	}},
	{"pages of the directory are in canonical order, with neither gap nor repetition while users come", func(t *testing.T, a Adapter) {
		s := open(t, a)
		const users = 25
		for i := range users {
			name := fmt.Sprintf("user_%02d", i)
			if i%2 == 0 {
				name = strings.ToUpper(name)
			}
			require.NoError(t, s.CreateAccount(t.Context(), account(name)))
		}
		var got []string
		after := ""
		for page := 0; ; page++ {
			list, err := s.ListKeys(t.Context(), after, 10)
			require.NoError(t, err)
			if len(list) == 0 {
				break
			}
			for _, u := range list {
				require.Equal(t, "pem of "+u.Username, u.Key.PEM)
				require.Equal(t, 1, u.Key.Version)
				if !strings.HasPrefix(u.Username, "new_") {
					got = append(got, store.Canonical(u.Username))
				}
			}
			after = store.Canonical(list[len(list)-1].Username)
			require.NoError(t, s.CreateAccount(t.Context(), account(fmt.Sprint("new_", page))))
		}
		require.Len(t, got, users)
		require.True(t, slices.IsSorted(got))
	}},
	{"the directory shows each user's current key", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		_, err := s.RotateKey(t.Context(), "bob", key("second"), "")
		require.NoError(t, err)
		list, err := s.ListKeys(t.Context(), "", 10)
		require.NoError(t, err)
		require.Len(t, list, 1)
		require.Equal(t, 2, list[0].Key.Version)
		require.Equal(t, "pem of second", list[0].Key.PEM)
	}},
	{"versions are told of those who exist, by canonical name", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob", "Carol")
		_, err := s.RotateKey(t.Context(), "carol", key("second"), "")
		require.NoError(t, err)
		got, err := s.KeyVersions(t.Context(), []string{"bob", "carol", "nobody"})
		require.NoError(t, err)
		require.Equal(t, map[string]store.UserKey{
			"bob": {Username: "Bob", Key: store.Key{Version: 1}}, "carol": {Username: "Carol", Key: store.Key{Version: 2}},
		}, got)
		got, err = s.KeyVersions(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, got)
	}},
	{"versions of a thousand users are told at once", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		names := make([]string, 1024)
		for i := range names {
			names[i] = fmt.Sprint("nobody_", i)
		}
		names[1000] = "bob"
		got, err := s.KeyVersions(t.Context(), names)
		require.NoError(t, err)
		require.Len(t, got, 1)
	}},
}
