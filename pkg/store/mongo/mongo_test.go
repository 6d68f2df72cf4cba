package mongo_test

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/inbox/inboxtest"
	"github.com/sealpost/sealpost/pkg/internal/enginetest"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/mongo"
	"github.com/sealpost/sealpost/pkg/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database returns the configuration of a new database, which is removed when the test ends.
func database(t testing.TB) mongo.Config {
	t.Helper()
	cfg := mongo.Config{
		URI: enginetest.URL(t, enginetest.Mongo), Database: "test_" + strings.ToLower(rand.Text()), MaxPoolSize: 40,
		// Many tests share one server: slow does not mean broken.
		Timeout: time.Minute,
	}
	t.Cleanup(func() {
		client, err := driver.Connect(options.Client().ApplyURI(cfg.URI))
		require.NoError(t, err)
		require.NoError(t, client.Database(cfg.Database).Drop(context.Background()))
		require.NoError(t, client.Disconnect(context.Background()))
	})
	return cfg
}

func open(t testing.TB, cfg mongo.Config) *mongo.Store {
	t.Helper()
	s, err := mongo.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func purge(ctx context.Context, s store.Store, now time.Time) error {
	return s.(*mongo.Store).PurgeAt(ctx, now)
}

func TestTheStoreContract(t *testing.T) {
	enginetest.URL(t, enginetest.Mongo)
	var configs sync.Map
	remember := func(s store.Store, cfg mongo.Config) store.Store {
		configs.Store(s, cfg)
		return s
	}
	storetest.Run(t, storetest.Adapter{
		Open: func(t *testing.T) store.Store {
			cfg := database(t)
			return remember(open(t, cfg), cfg)
		},
		Reopen: func(t *testing.T, s store.Store) store.Store {
			require.NoError(t, s.Close())
			cfg, _ := configs.Load(s)
			return remember(open(t, cfg.(mongo.Config)), cfg.(mongo.Config))
		},
		Purge: purge,
	})
}

func TestTheInboxLogContract(t *testing.T) {
	enginetest.URL(t, enginetest.Mongo)
	inboxtest.Run(t, inboxtest.Adapter{
		Open:  func(t *testing.T) store.Store { return open(t, database(t)) },
		Purge: purge,
	})
}
