package sqlite_test

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/revocation/revocationtest"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/sqlite"
	"github.com/sealpost/sealpost/pkg/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, path string) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(context.Background(), path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestTheStoreContract(t *testing.T) {
	paths := map[store.Store]string{}
	lock := make(chan struct{}, 1)
	remember := func(s store.Store, path string) store.Store {
		lock <- struct{}{}
		paths[s] = path
		<-lock
		return s
	}
	pathOf := func(s store.Store) string {
		lock <- struct{}{}
		defer func() { <-lock }()
		return paths[s]
	}
	storetest.Run(t, storetest.Adapter{
		Open: func(t *testing.T) store.Store {
			path := filepath.Join(t.TempDir(), "odd name #?%41 ä.db")
			return remember(open(t, path), path)
		},
		Reopen: func(t *testing.T, s store.Store) store.Store {
			require.NoError(t, s.Close())
			return remember(open(t, pathOf(s)), pathOf(s))
		},
		Purge: func(ctx context.Context, s store.Store, now time.Time) error {
			_, err := s.(*sqlite.Store).Purge(ctx, now)
			return err
		},
	})
}

func TestTheRevocationLogContract(t *testing.T) {
	revocationtest.Run(t, func(t *testing.T) revocation.Log {
		return open(t, filepath.Join(t.TempDir(), "db")).Revocations()
	})
}

func TestTheFileIsForItsOwnerAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	open(t, path)
	for _, suffix := range []string{"", "-wal", "-shm"} {
		info, err := os.Stat(path + suffix)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode(), path+suffix)
	}
}

func TestAFileOfANewerVersionIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	require.NoError(t, open(t, path).Close())
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	_, err = db.Exec("PRAGMA user_version = 1000")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	_, err = sqlite.Open(t.Context(), path)
	require.ErrorIs(t, err, sqlite.ErrNewerSchema)
}

func TestAFileThatIsNoDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("not a database ", 1000)), 0o600))
	_, err := sqlite.Open(t.Context(), path)
	require.Error(t, err)
	_, err = sqlite.Open(t.Context(), filepath.Join(path, "below a file"))
	require.Error(t, err)
}

func TestACloseTakesTheLogOverIntoTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	require.NoError(t, open(t, path).Close())
	require.NoFileExists(t, path+"-wal")
}

func TestAFileOfTheFirstVersionIsBroughtUpToDateWithWhatItHolds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	first, err := os.ReadFile("migrations/0001_initial.sql")
	require.NoError(t, err)
	db, err := sql.Open("sqlite", path)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), string(first)+`
		INSERT INTO inbox VALUES ('bob', 1, 1, x'000000000000000000000001', zeroblob(32), 'key', 1, 1, NULL, 9999999999999, 9999999999999);
		INSERT INTO messages VALUES (x'000000000000000000000001', 'Ann', 1, '["Bob"]', 'iv', '', zeroblob(16), 1, 9999999999999, 0, 'text');
		INSERT INTO messages VALUES (x'000000000000000000000002', 'Ann', 1, '["Bob"]', 'iv', '', zeroblob(16), 1, 5, 0, 'expired');
		PRAGMA user_version = 1`)
	require.NoError(t, err)
	require.NoError(t, db.Close())

	s := open(t, path)
	id := store.MessageID{11: 1}
	held, err := s.Entry(t.Context(), "bob", id)
	require.NoError(t, err)
	require.Equal(t, int64(1), held.Position)
	found, err := s.MessagesOf(t.Context(), []store.Entry{held})
	require.NoError(t, err)
	require.Equal(t, "text", found[id].Content)
	short := store.MessageID{11: 2}
	_, err = s.Purge(t.Context(), time.Now())
	require.NoError(t, err)
	found, err = s.Messages(t.Context(), []store.MessageID{short})
	require.NoError(t, err)
	require.True(t, found[short].Erased)
	require.Equal(t, int64(9999999999999), found[short].PurgeAt.UnixMilli(), "an id is kept for as long as entries are")
	again := held
	again.Position = 2
	results, err := s.InsertEntries(t.Context(), []store.Entry{again})
	require.NoError(t, err)
	require.NotNil(t, results[0].Existing, "a message must not come twice")
	require.Equal(t, int64(1), results[0].Existing.Position)
}

// TestWhoGivesAWriteUpDisturbsNobodyElse: the writes of others, right after it, find no transaction of its in their way.
func TestWhoGivesAWriteUpDisturbsNobodyElse(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "db"))
	require.NoError(t, s.CreateAccount(t.Context(), store.Account{Username: "bob", Key: store.Key{Version: 1}}))
	for i := range int64(2000) {
		ctx, cancel := context.WithTimeout(t.Context(), rand.N(400*time.Microsecond))
		_ = s.RecordLogin(ctx, "bob", time.Now()) // it may be in time or not
		cancel()
		now := time.Now()
		_, err := s.InsertEntries(t.Context(), []store.Entry{{User: "bob", Position: i + 1, Kind: store.Received, Message: store.NewMessageID(now)}})
		require.NoError(t, err)
	}
}
