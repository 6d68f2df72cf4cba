package mongo_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

// BenchmarkInsertEntries inserts entries to 20 inboxes in batches, like group commits under growing load.
func BenchmarkInsertEntries(b *testing.B) {
	const users = 20
	for _, batch := range []int{20, 320, 1280} {
		b.Run(fmt.Sprint("batch=", batch), func(b *testing.B) {
			s := open(b, database(b))
			position := int64(0)
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
				written, err := s.InsertEntries(b.Context(), entries)
				require.NoError(b, err)
				require.True(b, written[0])
			}
			b.ReportMetric(float64(b.N*batch)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}
