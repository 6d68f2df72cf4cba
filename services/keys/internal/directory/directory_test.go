package directory_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/publickey/publickeytest"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/keys/internal/directory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key is the n-th of many keys.
func key(t *testing.T, n int64) publickey.Key {
	t.Helper()
	k, err := publickey.Parse(publickeytest.PEM(2048, n))
	require.NoError(t, err)
	return k
}

// world is a directory with a real store.
type world struct {
	*directory.Service
	store *pebble.Store
	reg   *prometheus.Registry
	now   time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	w := &world{store: db, reg: prometheus.NewPedanticRegistry(), now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	w.Service = &directory.Service{Store: db, Now: func() time.Time { return w.now }, Metrics: directory.NewMetrics(w.reg)}
	return w
}

// add registers a user with the n-th key.
func (w *world) add(t *testing.T, name string, n int64) token.Identity {
	t.Helper()
	k := key(t, n)
	require.NoError(t, w.store.CreateAccount(t.Context(), store.Account{
		Username: name, PasswordHash: "h", CreatedAt: w.now, LastLogin: w.now,
		Key: store.Key{Version: 1, PEM: k.PEM, Fingerprint: k.Fingerprint, CreatedAt: w.now},
	}))
	return token.Identity{Username: name, Subject: store.Canonical(name)}
}

func (w *world) rotate(t *testing.T, who token.Identity, n int64) int {
	t.Helper()
	version, changed, err := w.Rotate(t.Context(), who, directory.Rotation{PEM: key(t, n).PEM})
	require.NoError(t, err)
	require.True(t, changed)
	return version
}

func TestAUsersKeyIsFoundByTheNameInAnyCase(t *testing.T) {
	w := newWorld(t)
	w.add(t, "Alice", 1)
	for _, name := range []string{"Alice", "alice", "ALICE"} {
		user, err := w.Current(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, "Alice", user.Username)
		require.Equal(t, 1, user.Key.Version)
		require.Equal(t, key(t, 1).PEM, user.Key.PEM)
		require.Equal(t, key(t, 1).Fingerprint, user.Key.Fingerprint)
		require.True(t, w.now.Equal(user.Key.CreatedAt))
	}
}

// refusing panics if the store is called: its store is nil.
type refusing struct{ directory.Store }

func TestNamesThatNobodyHasOrCanHaveAreNotFound(t *testing.T) {
	w := newWorld(t)
	_, err := w.Current(t.Context(), "nobody")
	require.ErrorIs(t, err, directory.ErrUserNotFound)
	_, err = w.History(t.Context(), "nobody", 0, 10)
	require.ErrorIs(t, err, directory.ErrUserNotFound)

	w.Store = refusing{} // a call would be a nil dereference
	for _, name := range []string{"", "al", "al.ice", "alice\x00", "$where", "a b c"} {
		_, err := w.Current(t.Context(), name)
		require.ErrorIs(t, err, directory.ErrUserNotFound)
		_, err = w.History(t.Context(), name, 0, 10)
		require.ErrorIs(t, err, directory.ErrUserNotFound)
	}
}

func TestARotationMakesAVersionAndKeepsTheOthers(t *testing.T) {
	w := newWorld(t)
	alice := w.add(t, "Alice", 1)
	registered := w.now
	w.now = w.now.Add(time.Hour)
	require.Equal(t, 2, w.rotate(t, alice, 2))
	require.Equal(t, 3, w.rotate(t, alice, 3))
	require.Equal(t, 4, w.rotate(t, alice, 1), "an earlier key may come back, as a version of its own")

	user, err := w.Current(t.Context(), "alice")
	require.NoError(t, err)
	require.Equal(t, 4, user.Key.Version)
	require.Equal(t, key(t, 1).PEM, user.Key.PEM)

	history, err := w.History(t.Context(), "ALICE", 0, 4)
	require.NoError(t, err)
	require.Equal(t, "Alice", history.Username)
	require.Zero(t, history.Next)
	keys := history.Keys
	require.Len(t, keys, 4)
	for i, n := range []int64{1, 2, 3, 1} {
		require.Equal(t, i+1, keys[i].Version)
		require.Equal(t, key(t, n).Fingerprint, keys[i].Fingerprint)
	}
	require.True(t, registered.Equal(keys[0].CreatedAt))
	require.True(t, w.now.Equal(keys[1].CreatedAt))

	newest, err := w.History(t.Context(), "alice", 0, 3)
	require.NoError(t, err)
	require.Equal(t, directory.KeyHistory{Username: "Alice", Keys: keys[1:], Next: 2}, newest)
	oldest, err := w.History(t.Context(), "alice", newest.Next, 3)
	require.NoError(t, err)
	require.Equal(t, directory.KeyHistory{Username: "Alice", Keys: keys[:1]}, oldest)
}

func TestTheCurrentKeyAgainChangesNothing(t *testing.T) {
	w := newWorld(t)
	alice := w.add(t, "alice", 1)
	w.rotate(t, alice, 2)
	version, changed, err := w.Rotate(t.Context(), alice, directory.Rotation{PEM: "\n" + key(t, 2).PEM + "\r\n"})
	require.NoError(t, err)
	require.False(t, changed)
	require.Equal(t, 2, version)
	history, err := w.History(t.Context(), "alice", 0, 10)
	require.NoError(t, err)
	require.Len(t, history.Keys, 2)
	require.NoError(t, testutil.GatherAndCompare(w.reg, strings.NewReader(rotationsHelp+`
sealpost_keys_rotations_total{outcome="refused"} 0
sealpost_keys_rotations_total{outcome="rotated"} 1
sealpost_keys_rotations_total{outcome="unchanged"} 1
`)))
}

func TestConcurrentRotationsAllGetAVersionOfTheirOwn(t *testing.T) {
	const rotations = 8
	w := newWorld(t)
	alice := w.add(t, "alice", 1)
	versions := make(chan int, rotations)
	var wg sync.WaitGroup
	for n := range rotations {
		text := key(t, int64(n+2)).PEM
		wg.Go(func() {
			version, _, err := w.Rotate(context.WithoutCancel(t.Context()), alice, directory.Rotation{PEM: text})
			if err == nil {
				versions <- version
			}
		})
	}
	wg.Wait()
	close(versions)
	var got []int
	for v := range versions {
		got = append(got, v)
	}
	require.ElementsMatch(t, []int{2, 3, 4, 5, 6, 7, 8, 9}, got)
}

func TestAKeyThatMayNotBeUsedRotatesNothing(t *testing.T) {
	w := newWorld(t)
	alice := w.add(t, "alice", 1)
	for _, text := range []string{"", "no key", key(t, 2).PEM + key(t, 3).PEM} {
		_, _, err := w.Rotate(t.Context(), alice, directory.Rotation{PEM: text})
		require.ErrorIs(t, err, publickey.ErrInvalid)
	}
	user, err := w.Current(t.Context(), "alice")
	require.NoError(t, err)
	require.Equal(t, 1, user.Key.Version)
}

func TestATokenWithoutAnAccountRotatesNothing(t *testing.T) {
	w := newWorld(t)
	_, _, err := w.Rotate(t.Context(), token.Identity{Username: "Ghost", Subject: "ghost"}, directory.Rotation{PEM: key(t, 1).PEM})
	require.ErrorIs(t, err, token.ErrNoAccount)
}

func TestPagesListEachUserOnceInTheOrderOfTheirNames(t *testing.T) {
	w := newWorld(t)
	names := []string{"Ann", "bob", "Cid", "dan", "Eve"}
	for _, i := range []int{3, 0, 4, 2, 1} {
		w.add(t, names[i], int64(i))
	}
	for limit := 1; limit <= len(names)+1; limit++ {
		var got []string
		after, pages := "", 0
		for {
			users, next, err := w.Page(t.Context(), after, limit)
			require.NoError(t, err)
			require.LessOrEqual(t, len(users), limit)
			for _, u := range users {
				got = append(got, u.Username)
				require.Equal(t, 1, u.Key.Version)
				require.NotEmpty(t, u.Key.PEM)
			}
			pages++
			if next == "" {
				break
			}
			require.Equal(t, users[len(users)-1].Username, next)
			after = next
		}
		require.Equal(t, names, got, "limit %d", limit)
		require.Equal(t, (len(names)+limit-1)/limit, pages, "no empty last page, limit %d", limit)
	}
}

func TestAPageMayStartBehindANameThatNobodyHas(t *testing.T) {
	w := newWorld(t)
	w.add(t, "ann", 1)
	w.add(t, "dan", 2)
	users, next, err := w.Page(t.Context(), "BOB", 10)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Len(t, users, 1)
	require.Equal(t, "dan", users[0].Username)
}

const rotationsHelp = `
# HELP sealpost_keys_rotations_total Keys that users submitted, by whether they rotated the key, it was unchanged, or the password was missing or wrong.
# TYPE sealpost_keys_rotations_total counter`

// equals are passwords that are their own hashes.
type equals struct{}

func (equals) Verify(_ context.Context, password, hash string) (match, outdated bool, err error) {
	return password == hash, false, nil
}

// TestOnceThePasswordHasComeWithAKeyItHasTo: a stolen token does not replace the key.
func TestOnceThePasswordHasComeWithAKeyItHasTo(t *testing.T) {
	w := newWorld(t)
	w.Passwords = equals{}
	alice := w.add(t, "Alice", 1) // her password is h
	for _, step := range []struct {
		key      int64
		password string
		version  int
		err      error
	}{
		{2, "", 2, nil}, // a client from before there was such a thing
		{3, "wrong", 0, directory.ErrWrongPassword},
		{3, "", 3, nil}, // a wrong password protects nothing
		{4, "h", 4, nil},
		{5, "", 0, store.ErrKeyProtected},
		{5, "wrong", 0, directory.ErrWrongPassword},
		{4, "", 0, store.ErrKeyProtected},
		{4, "h", 4, nil},
		{5, "h", 5, nil},
	} {
		version, _, err := w.Rotate(t.Context(), alice, directory.Rotation{PEM: key(t, step.key).PEM, Password: step.password})
		require.ErrorIs(t, err, step.err, "%+v", step)
		require.Equal(t, step.version, version, "%+v", step)
	}
	require.NoError(t, testutil.GatherAndCompare(w.reg, strings.NewReader(rotationsHelp+`
sealpost_keys_rotations_total{outcome="refused"} 4
sealpost_keys_rotations_total{outcome="rotated"} 4
sealpost_keys_rotations_total{outcome="unchanged"} 1
`)))
}

// TestAKeyThatIsCurrentAlreadyIsProtectedToo: its client got no answer, or is a new one.
func TestAKeyThatIsCurrentAlreadyIsProtectedToo(t *testing.T) {
	w := newWorld(t)
	w.Passwords = equals{}
	alice := w.add(t, "Alice", 1)
	_, changed, err := w.Rotate(t.Context(), alice, directory.Rotation{PEM: key(t, 1).PEM, Password: "h"})
	require.NoError(t, err)
	require.False(t, changed)
	_, _, err = w.Rotate(t.Context(), alice, directory.Rotation{PEM: key(t, 2).PEM})
	require.ErrorIs(t, err, store.ErrKeyProtected)
}

// meanwhile does something once while a password is compared. Passwords match the hashes that begin with them.
type meanwhile struct{ do func() }

func (m *meanwhile) Verify(_ context.Context, password, hash string) (match, outdated bool, err error) {
	if do := m.do; do != nil {
		m.do = nil
		do()
	}
	return strings.HasPrefix(hash, password), false, nil
}

// TestAPasswordThatIsNoLongerTheAccountsReplacesNoKey, even if it was when it came.
func TestAPasswordThatIsNoLongerTheAccountsReplacesNoKey(t *testing.T) {
	w := newWorld(t)
	alice := w.add(t, "Alice", 1)          // her password is h
	for _, number := range []int64{1, 2} { // the current key, and another
		w.Passwords = &meanwhile{func() {
			_, err := w.store.ChangePassword(t.Context(), "alice", "h", "new")
			require.NoError(t, err)
		}}
		_, _, err := w.Rotate(t.Context(), alice, directory.Rotation{PEM: key(t, number).PEM, Password: "h"})
		require.ErrorIs(t, err, directory.ErrWrongPassword)
		account, err := w.store.Account(t.Context(), "alice")
		require.NoError(t, err)
		require.Equal(t, 1, account.Key.Version)
		require.False(t, account.KeyProtected)
		_, err = w.store.ChangePassword(t.Context(), "alice", "new", "h")
		require.NoError(t, err)
	}
}

// TestAPasswordWhoseHashWasStrengthenedReplacesTheKey: a login elsewhere may store another hash of it.
func TestAPasswordWhoseHashWasStrengthenedReplacesTheKey(t *testing.T) {
	w := newWorld(t)
	alice := w.add(t, "Alice", 1)
	w.Passwords = &meanwhile{func() { require.NoError(t, w.store.ReplaceHash(t.Context(), "alice", "h", "h stronger")) }}
	version, _, err := w.Rotate(t.Context(), alice, directory.Rotation{PEM: key(t, 2).PEM, Password: "h"})
	require.NoError(t, err)
	require.Equal(t, 2, version)
}

func TestTheOperatorMayAskEverybodyForThePassword(t *testing.T) {
	w := newWorld(t)
	w.Passwords, w.NeedsPassword = equals{}, true
	alice := w.add(t, "Alice", 1)
	_, _, err := w.Rotate(t.Context(), alice, directory.Rotation{PEM: key(t, 2).PEM})
	require.ErrorIs(t, err, store.ErrKeyProtected)
	_, _, err = w.Rotate(t.Context(), alice, directory.Rotation{PEM: key(t, 2).PEM, Password: "h"})
	require.NoError(t, err)
}

// away is a store that is unavailable.
type away struct{ failRotation bool }

func (a away) Account(context.Context, string) (store.Account, error) {
	if a.failRotation {
		return store.Account{}, nil
	}
	return store.Account{}, fmt.Errorf("%w: away", store.ErrUnavailable)
}

func (away) RotateKey(context.Context, string, store.Key, string) (int, error) {
	return 0, fmt.Errorf("%w: away", store.ErrUnavailable)
}

func (away) ProtectKey(context.Context, string, string) error {
	return fmt.Errorf("%w: away", store.ErrUnavailable)
}

func (away) KeyHistory(context.Context, string, int, int) (string, []store.Key, error) {
	return "", nil, fmt.Errorf("%w: away", store.ErrUnavailable)
}

func (away) ListKeys(context.Context, string, int) ([]store.UserKey, error) {
	return nil, fmt.Errorf("%w: away", store.ErrUnavailable)
}

func TestAStoreThatIsAwayIsNotAUserThatIsMissing(t *testing.T) {
	w := newWorld(t)
	for _, s := range []away{{}, {failRotation: true}} {
		w.Store = s
		_, _, err := w.Rotate(t.Context(), token.Identity{Subject: "alice"}, directory.Rotation{PEM: key(t, 1).PEM})
		require.ErrorIs(t, err, store.ErrUnavailable)
	}
	w.Store = away{}
	_, err := w.Current(t.Context(), "alice")
	require.ErrorIs(t, err, store.ErrUnavailable)
	_, err = w.History(t.Context(), "alice", 0, 10)
	require.ErrorIs(t, err, store.ErrUnavailable)
	_, _, err = w.Page(t.Context(), "", 10)
	require.ErrorIs(t, err, store.ErrUnavailable)
}

// TestAReplacedKeyIsToldOf: also when the key was replaced before, and when the store does not confirm the rotation.
func TestAReplacedKeyIsToldOf(t *testing.T) {
	w := newWorld(t)
	alice := w.add(t, "Alice", 1)
	var told []string
	w.Changed = func(user string) {
		version, err := w.store.KeyVersions(t.Context(), []string{"alice"})
		require.NoError(t, err)
		told = append(told, fmt.Sprint(user, " ", version["alice"].Key.Version))
	}
	w.rotate(t, alice, 2)
	_, changed, err := w.Rotate(t.Context(), alice, directory.Rotation{PEM: key(t, 2).PEM})
	require.NoError(t, err)
	require.False(t, changed)
	w.Store = silent{w.Store}
	_, _, err = w.Rotate(t.Context(), alice, directory.Rotation{PEM: key(t, 3).PEM})
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.Equal(t, []string{"alice 2", "alice 2", "alice 3"}, told)
}

// silent rotates the key, and then reports that the store is unavailable.
type silent struct{ directory.Store }

func (s silent) RotateKey(ctx context.Context, user string, key store.Key, provenHash string) (int, error) {
	version, err := s.Store.RotateKey(ctx, user, key, provenHash)
	return version, errors.Join(err, store.ErrUnavailable)
}
