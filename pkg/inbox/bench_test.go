package inbox_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/memseq"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// BenchmarkAppend sends from many goroutines at once. Each send is durable when it returns: Pebble syncs it.
func BenchmarkAppend(b *testing.B) {
	for _, recipients := range []int{1, 20} {
		b.Run(fmt.Sprint("recipients=", recipients), func(b *testing.B) {
			s, err := pebble.Open(b.Context(), b.TempDir(), pebble.Options{})
			require.NoError(b, err)
			defer func() { require.NoError(b, s.Close()) }()
			w := inbox.NewWriter(inbox.Config{Store: s, Sequencer: memseq.New(1000), AloneSince: time.Now()})
			defer w.Stop()
			d := inbox.Draft{Sender: "Sender", Content: fmt.Sprintf("%0400d", 1), IV: "000000000000000000000000"}
			for i := range recipients {
				d.Recipients = append(d.Recipients, inbox.Recipient{Username: fmt.Sprint("user", i), WrappedKey: fmt.Sprintf("%0684d", 1)})
			}
			b.SetParallelism(64)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := w.Append(context.Background(), d); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sends/s")
			b.ReportMetric(float64(b.N*recipients)/b.Elapsed().Seconds(), "deliveries/s")
		})
	}
}

// BenchmarkRead reads the next hundred messages of an inbox of a given length, from its middle.
func BenchmarkRead(b *testing.B) {
	for _, length := range []int{1000, 100_000} {
		b.Run(fmt.Sprint("length=", length), func(b *testing.B) {
			s, err := pebble.Open(b.Context(), b.TempDir(), pebble.Options{})
			require.NoError(b, err)
			defer func() { require.NoError(b, s.Close()) }()
			fill(b, s, length)
			r := inbox.NewReader(inbox.Config{Store: s})
			b.ReportAllocs()
			for b.Loop() {
				batch, err := r.Read(context.Background(), "bob", int64(length/2), 100)
				require.NoError(b, err)
				require.Len(b, batch.Items, 100)
			}
		})
	}
}

func fill(b *testing.B, s store.Log, length int) {
	const bulk = 1000
	now := time.Now()
	for p := 0; p < length; p += bulk {
		entries, messages := make([]store.Entry, bulk), make([]store.Message, bulk)
		for i := range bulk {
			m := store.Message{ID: store.NewMessageID(now), Sender: "Alice", Recipients: []string{"Bob"}, Content: fmt.Sprintf("%0400d", i), CreatedAt: now, ExpiresAt: now.Add(time.Hour), PurgeAt: now.Add(time.Hour)}
			messages[i] = m
			entries[i] = store.Entry{User: "bob", Position: int64(p + i + 1), Kind: store.Received, Message: m.ID, At: now, ExpiresAt: m.ExpiresAt, PurgeAt: m.ExpiresAt}
		}
		_, err := s.InsertEntries(context.Background(), entries)
		require.NoError(b, err)
		_, err = s.InsertMessages(context.Background(), messages)
		require.NoError(b, err)
	}
}
