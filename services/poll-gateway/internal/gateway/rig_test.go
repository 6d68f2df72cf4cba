package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shelf is an inbox that a test fills. Position p is at index p-1.
type shelf struct {
	mu      sync.Mutex
	entries []inbox.Item
	// visible is the end of the decided positions. Those beyond are undecided.
	visible int64
	reads   int
	fail    error
	// short makes messages expire after a second.
	short bool
	// hidden is how many of the last positions reads do not show, as a replica that is behind would.
	hidden int64
	// more makes reads report more and return nothing.
	more bool
	// during is called while a read is under way.
	during func()
	// headFrom is what the last Head was told to be decided.
	headFrom int64
}

func (s *shelf) lifetime() time.Duration {
	if s.short {
		return time.Second
	}
	return time.Hour
}

func (s *shelf) add(kind store.EntryKind) inbox.Item {
	item := s.addUndecided(kind)
	s.mu.Lock()
	s.visible = int64(len(s.entries))
	s.mu.Unlock()
	return item
}

func (s *shelf) addUndecided(kind store.EntryKind) inbox.Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	position := int64(len(s.entries) + 1)
	item := inbox.Item{
		Entry:   store.Entry{User: "bob", Position: position, Kind: kind, Message: store.MessageID{byte(position), byte(position >> 8)}, ExpiresAt: time.Now().Add(s.lifetime())},
		Message: store.Message{ID: store.MessageID{byte(position), byte(position >> 8)}, Sender: "Alice", Recipients: []string{"Bob"}, CreatedAt: time.Now()},
	}
	s.entries = append(s.entries, item)
	return item
}

func (s *shelf) decide() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visible = int64(len(s.entries))
}

func (s *shelf) Read(_ context.Context, _ string, after int64, limit int) (inbox.Batch, error) {
	if s.during != nil {
		s.during()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	b := inbox.Batch{Next: after, More: s.more}
	switch {
	case s.more:
		return b, nil
	case s.fail != nil:
		return b, s.fail
	case after > int64(len(s.entries))-s.hidden:
		b.PastHead = true
		return b, nil
	}
	visible := min(s.visible, int64(len(s.entries))-s.hidden)
	for _, item := range s.entries[min(after, visible):visible] {
		if item.Entry.Kind != store.Received {
			b.Skipped = append(b.Skipped, item.Entry.Position)
		} else {
			if len(b.Items) == limit {
				b.More = true
				return b, nil
			}
			b.Items = append(b.Items, item)
		}
		b.Next = item.Entry.Position
	}
	b.Blocked = s.visible < int64(len(s.entries))
	return b, nil
}

func (s *shelf) Receipts(context.Context, store.Message) ([]store.ReadReceipt, error) {
	return nil, nil
}

func (s *shelf) Head(_ context.Context, _ string, decided int64) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headFrom = decided
	return int64(len(s.entries)), nil
}

func (s *shelf) hide(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hidden = n
}

func (s *shelf) readCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

// wire is a bus that a test controls.
type wire struct {
	mu         sync.Mutex
	away       bool
	subscribed map[string]int
}

func (w *wire) Subscribe(_ context.Context, user string) (bus.Subscription, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subscribed[user]++
	if w.away {
		return subscription{w, user}, bus.ErrDisconnected
	}
	return subscription{w, user}, nil
}

func (w *wire) Connected() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.away
}

func (w *wire) set(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
}

func (w *wire) count(user string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.subscribed[user]
}

type subscription struct {
	wire *wire
	user string
}

func (s subscription) Unsubscribe() error {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	s.wire.subscribed[s.user]--
	return nil
}

// rig is a gateway between a shelf and a wire.
type rig struct {
	*Gateway
	t     *testing.T
	shelf *shelf
	wire  *wire
}

// oneEpoch is a log that is never restored.
func oneEpoch() *Epochs { return NewEpochs(func(context.Context) (string, error) { return "e1", nil }) }

func newRig(t *testing.T, change ...func(*Config)) *rig {
	cfg := Config{
		MaxPolls: 100, MaxPollsPerUser: 50, RingEvents: 4, RingBytes: 1 << 20, AllRingBytes: 1 << 26, VerifyEvery: time.Minute,
		AwayEvery: 1500 * time.Millisecond, Linger: time.Minute, StoreReads: 4,
		Revoked: func(token.Identity) bool { return false },
		Epochs:  oneEpoch(),
	}
	for _, f := range change {
		f(&cfg)
	}
	r := &rig{t: t, shelf: &shelf{}, wire: &wire{subscribed: map[string]int{}}}
	r.Gateway = New(cfg, r.shelf, slog.New(slog.DiscardHandler), NewMetrics(nil))
	r.Attach(r.wire)
	t.Cleanup(r.Stop)
	return r
}

func (r *rig) publish(item inbox.Item) {
	event := delivery.For(item)
	r.Receive("bob", event.Encode(), nil)
}

// send puts a message into the inbox and publishes it.
func (r *rig) send() { r.publish(r.shelf.add(store.Received)) }

func bob() token.Identity {
	return token.Identity{Username: "Bob", Subject: "bob", SessionID: "s", TokenID: "t", ExpiresAt: time.Now().Add(time.Hour)}
}

func (r *rig) query(after int64, wait time.Duration) Query {
	return Query{Caller: bob(), After: after, Limit: 100, Wait: wait}
}

type result struct {
	Answer
	err error
}

// start begins a poll and returns when it waits.
func (r *rig) start(q Query) <-chan result {
	done := make(chan result, 1)
	go func() {
		a, err := r.Poll(context.Background(), q)
		done <- result{a, err}
	}()
	synctest.Wait()
	return done
}

func positions(t *testing.T, a Answer) []int64 {
	var list []int64
	for _, o := range a.Objects {
		var m api.Message
		require.NoError(t, json.Unmarshal(o.JSON.AppendTo(nil), &m))
		require.Equal(t, o.Position, m.Seq)
		list = append(list, m.Seq)
	}
	return list
}

// pass lets the bubble's time pass.
func pass(d time.Duration) { <-time.After(d) }

// bubble runs a test in a synctest bubble.
func bubble(t *testing.T, test func(t *testing.T)) { synctest.Test(t, test) }
