package sqlite_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/sqlite"
)

// TestTheLogIsCopiedIntoTheFileWhileItIsWritten without a pause, and begins anew: it does not grow with what is written.
func TestTheLogIsCopiedIntoTheFileWhileItIsWritten(t *testing.T) {
	const checkpoints, size, writers = 4, 128 << 10, 4
	var done, failed atomic.Int64
	path := filepath.Join(t.TempDir(), "db")
	s, err := sqlite.Open(t.Context(), path, sqlite.WithObserver(func(_ context.Context, operation string, _ time.Duration, wrong bool) {
		if operation != "checkpoint" {
			return
		}
		if wrong {
			failed.Add(1)
		}
		done.Add(1)
	}))
	require.NoError(t, err)
	random := make([]byte, size/2)
	_, _ = rand.Read(random)
	content := hex.EncodeToString(random)
	var written sync.WaitGroup
	for range writers {
		written.Go(func() {
			for done.Load() < checkpoints && failed.Load() == 0 {
				m, _ := message(1)
				m.Content = content
				if _, err := s.InsertMessages(context.Background(), []store.Message{m}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	written.Wait()
	require.Zero(t, failed.Load())
	log, err := os.Stat(path + "-wal")
	require.NoError(t, err)
	file, err := os.Stat(path)
	require.NoError(t, err)
	const due = 64 << 20 // what is written between two checkpoints
	require.Less(t, log.Size(), int64(2*due), "the log went on growing")
	require.Greater(t, file.Size(), int64((checkpoints-1)*due), "what was logged is in the file")
	require.NoError(t, s.Close())
	require.NoFileExists(t, path+"-wal")
}
