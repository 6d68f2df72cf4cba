package pebble_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/revocation/revocationtest"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
	"github.com/sealpost/sealpost/pkg/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small is for tests with many stores.
var small = pebble.Options{Memory: 4 << 20}

func open(t testing.TB, folder string, o pebble.Options) *pebble.Store {
	t.Helper()
	s, err := pebble.Open(context.Background(), folder, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func adapter() storetest.Adapter {
	var folders sync.Map
	remember := func(t *testing.T, folder string) store.Store {
		s := open(t, folder, small)
		folders.Store(s, folder)
		return s
	}
	return storetest.Adapter{
		Open: func(t *testing.T) store.Store {
			return remember(t, filepath.Join(t.TempDir(), "odd name #?%41 ä"))
		},
		Reopen: func(t *testing.T, s store.Store) store.Store {
			require.NoError(t, s.Close())
			folder, _ := folders.Load(s)
			return remember(t, folder.(string))
		},
		Purge: func(ctx context.Context, s store.Store, now time.Time) error {
			_, err := s.(*pebble.Store).Purge(ctx, now)
			return err
		},
	}
}

func TestTheStoreContract(t *testing.T) { storetest.Run(t, adapter()) }

func TestTheRevocationLogContract(t *testing.T) {
	revocationtest.Run(t, func(t *testing.T) revocation.Log {
		return open(t, filepath.Join(t.TempDir(), "store"), small).Revocations()
	})
}

func TestTheFolderIsForItsOwnerAlone(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "store")
	open(t, folder, small)
	info, err := os.Stat(folder)
	require.NoError(t, err)
	require.Equal(t, os.ModeDir|0o700, info.Mode())
}
