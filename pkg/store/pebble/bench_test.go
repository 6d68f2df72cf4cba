package pebble_test

import (
	"context"
	crand "crypto/rand"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/batch"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// BenchmarkReads reads what a returning client needs: a hundred entries from the middle of one of many long inboxes, with their messages;
// whether they are decided; and the tail.
func BenchmarkReads(b *testing.B) {
	const length, others, bulk = 100_000, 20, 1000
	s := open(b, filepath.Join(b.TempDir(), "store"), pebble.Options{})
	text := ciphertext(1 << 20)
	now := time.Now().UTC().Truncate(time.Millisecond)
	for p := 0; p < length; p += bulk {
		var entries []store.Entry
		messages := make([]store.Message, bulk)
		for i := range messages {
			one := sendOf(int64(p+i+1), "bob", fmt.Sprint("user", i%others))
			m := &messages[i]
			*m = one.Message
			_, _ = crand.Read(m.ID[:]) // like an id derived from a client message id
			m.ExpiresAt, m.PurgeAt = now.Add(time.Duration(p+i)*time.Millisecond), now.Add(time.Duration(p+i)*time.Millisecond)
			m.Content = text[rand.N(len(text)-contentLen):][:contentLen]
			for _, e := range one.Entries {
				e.Message, e.ExpiresAt, e.WrappedKey = m.ID, m.ExpiresAt, text[rand.N(len(text)-keyLen):][:keyLen]
				entries = append(entries, e)
			}
		}
		_, err := s.InsertEntries(b.Context(), entries)
		require.NoError(b, err)
		_, err = s.InsertMessages(b.Context(), messages)
		require.NoError(b, err)
	}
	before := processorTime(b)
	for i := 0; b.Loop(); i++ {
		after := int64(i * 7919 % (length - 100))
		entries, err := s.Entries(b.Context(), "bob", after, after+100)
		require.NoError(b, err)
		require.Len(b, entries, 100)
		found, err := s.MessagesOf(b.Context(), entries)
		require.NoError(b, err)
		require.Len(b, found, 100)
		ids := make([]store.MessageID, len(entries))
		for i, e := range entries {
			ids[i] = e.Message
		}
		_, err = s.Decided(b.Context(), ids)
		require.NoError(b, err)
		_, err = s.Tails(b.Context(), []string{"bob"})
		require.NoError(b, err)
	}
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/read")
}

// BenchmarkSends sends from many goroutines at once, like the inbox log: to one other user from 64, and to all 20 from 8. Every send is
// durable when it returns. It reports the rate, and the processor time of the whole process per send.
func BenchmarkSends(b *testing.B) {
	for _, shape := range []struct{ recipients, atOnce int }{{1, 64}, {20, 8}} {
		for _, way := range []string{"steps", "commit", "direct"} {
			b.Run(fmt.Sprintf("recipients=%d/%s", shape.recipients, way), func(b *testing.B) {
				s, err := pebble.Open(b.Context(), filepath.Join(b.TempDir(), "store"), pebble.Options{})
				require.NoError(b, err)
				defer func() { require.NoError(b, s.Close()) }()
				send, stop := ways[way](s)
				defer stop()
				benchmarkSends(b, shape.recipients, shape.atOnce, send)
			})
		}
	}
}

// ways are the ways to write a send.
var ways = map[string]func(s store.Store) (send func(store.Send) error, stop func()){
	// entries, then the message, each batched with those of others
	"steps": func(s store.Store) (func(store.Send) error, func()) {
		entries := batch.New(bounds, func(e store.Entry) int { return len(e.WrappedKey) }, s.InsertEntries)
		messages := batch.New(bounds, func(m store.Message) int { return len(m.Content) }, s.InsertMessages)
		return func(one store.Send) error {
			written, err := entries.Do(context.Background(), one.Entries)
			if err != nil || slices.Contains(written, false) {
				return fmt.Errorf("entries: %w", err)
			}
			written, err = messages.Do(context.Background(), []store.Message{one.Message})
			if err != nil || !written[0] {
				return fmt.Errorf("message: %w", err)
			}
			return nil
		}, func() { entries.Stop(); messages.Stop() }
	},
	// in one step, batched with others
	"commit": func(s store.Store) (func(store.Send) error, func()) {
		sends := batch.New(bounds, func(s store.Send) int { return len(s.Message.Content) }, s.(store.Committer).Commit)
		return func(one store.Send) error { return written(sends.Do(context.Background(), []store.Send{one})) }, sends.Stop
	},
	// in one step, unbatched
	"direct": func(s store.Store) (func(store.Send) error, func()) {
		return func(one store.Send) error {
			return written(s.(store.Committer).Commit(context.Background(), []store.Send{one}))
		}, func() {}
	},
}

var bounds = batch.Config{Queue: 4096, Items: 4096, Bytes: 16 << 20}

func written(results []store.SendResult, err error) error {
	if err == nil && !results[0].Written {
		err = fmt.Errorf("refused: %+v", results[0])
	}
	return err
}

// ciphertext returns text like clients send it: base64 of incompressible bytes.
func ciphertext(n int) string {
	random := make([]byte, n)
	_, _ = crand.Read(random)
	return base64.StdEncoding.EncodeToString(random)
}

// contentLen and keyLen are the lengths of encrypted 512 bytes of text and of a key wrapped with RSA.
const contentLen, keyLen = 700, 344

func benchmarkSends(b *testing.B, recipients, atOnce int, send func(store.Send) error) {
	const users = 20
	var last [users + 1]atomic.Int64
	text := ciphertext(1 << 20)
	var n atomic.Int64
	b.SetParallelism(max(1, atOnce/runtime.GOMAXPROCS(0)))
	b.ReportAllocs()
	before := processorTime(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			now := time.Now()
			first := int(n.Add(1))
			content := text[rand.N(len(text)-contentLen):][:contentLen]
			m := store.Message{
				ID: store.NewMessageID(now), Sender: "User0", SenderKeyVersion: 1, Content: content, IV: "0123456789abcdef", CreatedAt: now,
				ExpiresAt: now.Add(time.Hour), PurgeAt: now.Add(time.Hour), ClientMessageID: "a8098c1a-f86e-11da-bd1a-00112444be1e",
			}
			one := store.Send{Message: m, Entries: make([]store.Entry, recipients+1)}
			for i := range one.Entries { // the last is the sender's own
				user := (first + i) % (users + 1)
				one.Entries[i] = store.Entry{
					User: fmt.Sprint("user", user), Position: last[user].Add(1), Kind: store.Received, Message: m.ID, Size: len(content), WrappedKey: text[rand.N(len(text)-keyLen):][:keyLen],
					KeyVersion: 1, At: now, ExpiresAt: m.ExpiresAt, PurgeAt: m.ExpiresAt.Add(time.Hour),
				}
				one.Message.Recipients = append(one.Message.Recipients, one.Entries[i].User)
				one.Message.Positions = append(one.Message.Positions, one.Entries[i].Position)
			}
			if err := send(one); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	took := processorTime(b) - before
	b.ReportMetric(float64(took.Microseconds())/float64(b.N), "cpu-µs/send")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "sends/s")
}

// processorTime returns the processor time used by this process so far.
func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
