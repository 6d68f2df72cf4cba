package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
)

// BenchmarkEventToPollCompletion parks the polls of one user, gives the gateway an event and waits until all are answered. One iteration
// is the life of these polls without HTTP.
func BenchmarkEventToPollCompletion(b *testing.B) {
	for _, polls := range []int{1, 20} {
		b.Run(fmt.Sprint("polls=", polls), func(b *testing.B) {
			g := newBenchGateway()
			defer g.Stop()
			answered := make(chan error, polls)
			ask := func(after int64) {
				a, err := g.Poll(context.Background(), Query{Caller: bob(), After: after, Limit: 100, Wait: time.Minute})
				if err == nil && a.Position != after+1 {
					err = fmt.Errorf("asked after %d and came to %d", after, a.Position)
				}
				answered <- err
			}
			position := int64(0)
			b.ReportAllocs()
			for b.Loop() {
				for range polls {
					go ask(position)
				}
				for parkedPolls(g) < polls {
					runtime.Gosched()
				}
				position++
				g.Receive("bob", eventAt(b, position), nil)
				for range polls {
					require.NoError(b, <-answered)
				}
			}
		})
	}
}

func newBenchGateway() *Gateway {
	g := New(Config{
		MaxPolls: 2000, MaxPollsPerUser: 50, RingEvents: 16, RingBytes: 64 << 10, AllRingBytes: 1 << 26, VerifyEvery: time.Hour, AwayEvery: time.Hour,
		Linger: time.Minute, StoreReads: 4, Revoked: func(token.Identity) bool { return false }, Epochs: oneEpoch(),
	}, &shelf{}, slog.New(slog.DiscardHandler), NewMetrics(nil))
	g.Attach(&wire{subscribed: map[string]int{}})
	return g
}

func parkedPolls(g *Gateway) int {
	m := g.find("bob")
	if m == nil {
		return 0
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.waiters.list)
}

// eventAt makes the event of a message of 400 characters with one recipient.
func eventAt(b *testing.B, position int64) []byte {
	e := delivery.For(inbox.Item{
		Entry:   store.Entry{User: "bob", Position: position, Kind: store.Received, WrappedKey: fmt.Sprintf("%0344d", 1), ExpiresAt: time.Now().Add(time.Hour)},
		Message: store.Message{Sender: "Alice", Recipients: []string{"Bob"}, Content: fmt.Sprintf("%0400d", 1), CreatedAt: time.Now()},
	})
	return e.Encode()
}
