package inbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/inbox/inboxtest"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheInboxLogOnPebble(t *testing.T) {
	inboxtest.Run(t, inboxtest.Adapter{
		Open: func(t *testing.T) store.Store {
			s, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			return s
		},
		Purge: func(ctx context.Context, s store.Store, now time.Time) error {
			_, err := s.(*pebble.Store).Purge(ctx, now)
			return err
		},
	})
}
