package sqlite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/sqlite"
)

// BenchmarkInsertEntries inserts entries in batches of 400 to 20 inboxes: a group commit under load.
func BenchmarkInsertEntries(b *testing.B) {
	s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "db"))
	require.NoError(b, err)
	defer func() { require.NoError(b, s.Close()) }()
	const batch, users = 1280, 20
	position := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		entries := make([]store.Entry, batch)
		for i := range entries {
			if i%users == 0 {
				position++
			}
			now := time.Now()
			entries[i] = store.Entry{
				User: fmt.Sprintf("user%d", i%users), Position: position, Kind: store.Received, Message: store.NewMessageID(now),
				WrappedKey: fmt.Sprintf("%0684d", 1), At: now, ExpiresAt: now.Add(time.Hour), PurgeAt: now.Add(time.Hour),
			}
		}
		results, err := s.InsertEntries(context.Background(), entries)
		require.NoError(b, err)
		require.Zero(b, results[0])
	}
	b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "entries/s")
}
