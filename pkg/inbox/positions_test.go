package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/memseq"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// slow is a store that delays Tails.
type slow struct {
	store.Log
	took  atomic.Int64 // nanoseconds per call,
	each  atomic.Int64 // and per user
	tails atomic.Int64 // the number of calls, and of users in them
	users atomic.Int64
}

func slowly(log store.Log, took time.Duration) *slow {
	s := &slow{Log: log}
	s.took.Store(int64(took))
	return s
}

func (s *slow) Tails(ctx context.Context, users []string) (map[string]store.Tail, error) {
	s.tails.Add(1)
	s.users.Add(int64(len(users)))
	select {
	case <-time.After(time.Duration(s.took.Load() + int64(len(users))*s.each.Load())):
		return s.Log.Tails(ctx, users)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// unsteady is a sequencer that can fail or hang, and keeps its counters.
type unsteady struct {
	*memseq.Sequencer
	away, hangs atomic.Bool
	asked       atomic.Int64
	incarnation atomic.Uint64
	onNext      func() // called before the next Next
}

func (u *unsteady) trouble(ctx context.Context) error {
	u.asked.Add(1)
	if u.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if u.away.Load() {
		return errors.New("away")
	}
	return nil
}

func (u *unsteady) Next(ctx context.Context, users []string) ([]int64, error) {
	if err := u.trouble(ctx); err != nil {
		return nil, err
	}
	if u.onNext != nil {
		u.onNext()
		u.onNext = nil
	}
	return u.Sequencer.Next(ctx, users)
}

func (u *unsteady) Raise(ctx context.Context, floors map[string]int64) error {
	if err := u.trouble(ctx); err != nil {
		return err
	}
	return u.Sequencer.Raise(ctx, floors)
}

func (u *unsteady) Incarnation() uint64 { return u.incarnation.Load() }

// node is a writer over a store whose Tails takes 50 ms, and an unsteady sequencer.
type node struct {
	*inbox.Writer
	store *slow
	seq   *unsteady
}

// onANode runs a test in virtual time.
func onANode(t *testing.T, test func(*testing.T, *node)) {
	synctest.Test(t, func(t *testing.T) {
		s, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		n := &node{store: slowly(s, 50*time.Millisecond), seq: &unsteady{Sequencer: memseq.New(1 << 20)}}
		n.Writer = inbox.NewWriter(inbox.Config{Store: n.store, Sequencer: n.seq})
		defer n.Stop()
		test(t, n)
	})
}

// message is a draft from Alice.
func message(to ...string) inbox.Draft {
	d := inbox.Draft{Sender: "Alice", Content: "c", IV: "iv"}
	for _, name := range to {
		d.Recipients = append(d.Recipients, inbox.Recipient{Username: name, WrappedKey: "k"})
	}
	return d
}

func broadcast(prefix string) inbox.Draft {
	names := make([]string, 1024)
	for i := range names {
		names[i] = fmt.Sprint(prefix, i)
	}
	return message(names...)
}

// sent sends and returns how long it took.
func (n *node) sent(t *testing.T, d inbox.Draft) time.Duration {
	t.Helper()
	began := time.Now()
	_, err := n.Append(t.Context(), d)
	require.NoError(t, err)
	return time.Since(began)
}

// pass lets virtual time pass.
func pass(d time.Duration) { <-time.After(d) }

// settled waits until a node's counters are trusted.
func (n *node) settled(t *testing.T, names ...string) {
	pass(inbox.DefaultWriteTimeout)
	for range 2 {
		n.sent(t, message(names...))
	}
}

func TestABroadcastSucceedsThoughTailsAreSlowAndHoldsUpNobody(t *testing.T) {
	for what, trouble := range map[string]func(*node){
		"no counter was used yet":            func(*node) {},
		"the counters may have gone back":    func(n *node) { n.seq.incarnation.Add(1) },
		"the sequencer is away":              func(n *node) { n.seq.away.Store(true) },
		"the sequencer does not answer":      func(n *node) { n.seq.hangs.Store(true) },
		"the sequencer is another one again": func(n *node) { n.seq.incarnation.Add(1); n.seq.away.Store(true) },
		"the sequencer was away and is back again": func(n *node) {
			n.seq.away.Store(true)
			_, _ = n.Append(context.Background(), message("Bob"))
			n.seq.away.Store(false)
			pass(time.Minute)
		},
	} {
		t.Run(what, func(t *testing.T) {
			onANode(t, func(t *testing.T, n *node) {
				n.settled(t, "Alice", "Bob", "Carol")
				n.store.each.Store(int64(500 * time.Microsecond))
				trouble(n)
				d := message("Bob")
				d.Sender = "Carol"
				alone := n.sent(t, d)
				var all sync.WaitGroup
				for b := range 3 {
					all.Go(func() {
						require.LessOrEqual(t, n.sent(t, broadcast(fmt.Sprint("b", b, "u"))), 1500*time.Millisecond)
					})
				}
				for range 5 {
					pass(20 * time.Millisecond)
					require.LessOrEqual(t, n.sent(t, d), alone+10*time.Millisecond)
				}
				all.Wait()
			})
		})
	}
}

func TestASendToBelievedCountersWaitsForNoTail(t *testing.T) {
	onANode(t, func(t *testing.T, n *node) {
		n.settled(t, "Bob")
		n.store.took.Store(int64(inbox.DefaultWriteTimeout - time.Millisecond))
		var others sync.WaitGroup
		others.Go(func() { _, _ = n.Append(t.Context(), broadcast("u")) })
		pass(time.Millisecond)
		reads := n.store.tails.Load()
		require.Less(t, n.sent(t, message("Bob")), 50*time.Millisecond)
		require.Equal(t, reads, n.store.tails.Load())
		others.Wait()
	})
}

// TestWhatWasReadForASendThatGaveUpStaysKnown: the retry of the send continues from there.
func TestWhatWasReadForASendThatGaveUpStaysKnown(t *testing.T) {
	onANode(t, func(t *testing.T, n *node) {
		n.settled(t, "Bob")
		n.store.took.Store(int64(2 * time.Second)) // for each of the two rounds of chunks
		many := broadcast("u")
		for i := range 2000 {
			many.Recipients = append(many.Recipients, inbox.Recipient{Username: fmt.Sprint("v", i), WrappedKey: "k"})
		}
		_, err := n.Append(t.Context(), many)
		require.ErrorIs(t, err, inbox.ErrNotCommitted)
		pass(time.Minute)
		n.store.took.Store(int64(time.Hour))
		n.sent(t, many)
	})
}

func TestManyUsersTailsAreReadTogether(t *testing.T) {
	onANode(t, func(t *testing.T, n *node) {
		n.sent(t, broadcast("u"))
		require.LessOrEqual(t, n.store.tails.Load(), int64(8))
		require.LessOrEqual(t, n.store.users.Load(), int64(1025+256), "each once")
	})
}

// TestManyInboxesCostNoTailOnceTheyAreKnown: many users do not evict each other's counters.
func TestManyInboxesCostNoTailOnceTheyAreKnown(t *testing.T) {
	onANode(t, func(t *testing.T, n *node) {
		n.store.Log = blank{}
		n.settled(t, "Bob")
		for b := range 150 { // 153,600 users
			n.sent(t, broadcast(fmt.Sprint("b", b, "u")))
		}
		reads := n.store.tails.Load()
		n.sent(t, broadcast("b0u"))
		require.Equal(t, reads, n.store.tails.Load())
	})
}

// blank is a store that accepts everything and keeps nothing.
type blank struct{ store.Log }

func (blank) Tails(context.Context, []string) (map[string]store.Tail, error) {
	return make(map[string]store.Tail), nil
}

func (blank) InsertEntries(_ context.Context, entries []store.Entry) ([]bool, error) {
	return slices.Repeat([]bool{true}, len(entries)), nil
}

func (blank) InsertMessages(_ context.Context, messages []store.Message) ([]bool, error) {
	return slices.Repeat([]bool{true}, len(messages)), nil
}

// holding is a store that holds bulk inserts of many entries until goOn is closed.
type holding struct {
	store.Log
	held, goOn chan struct{}
}

func (h *holding) InsertEntries(ctx context.Context, entries []store.Entry) ([]bool, error) {
	if len(entries) > 1000 {
		h.held <- struct{}{}
		<-h.goOn
	}
	return h.Log.InsertEntries(ctx, entries)
}

// TestABroadcastStopsNobodyElse: while the entries of a send to 1,024 are written, other sends are written without waiting.
func TestABroadcastStopsNobodyElse(t *testing.T) {
	onANode(t, func(t *testing.T, n *node) {
		h := &holding{Log: n.store.Log, held: make(chan struct{}), goOn: make(chan struct{})}
		n.store.Log = h
		letGo := sync.OnceFunc(func() { close(h.goOn) })
		defer letGo()
		done := make(chan error, 1)
		go func() {
			_, err := n.Append(t.Context(), broadcast("u"))
			done <- err
		}()
		<-h.held
		for range 10 {
			n.sent(t, message("Bob"))
			n.sent(t, message("u1", "u2"))
		}
		letGo()
		require.NoError(t, <-done)
	})
}

// TestOneSendAtATimeTriesASequencerThatIsAway: the others do not wait for the result.
func TestOneSendAtATimeTriesASequencerThatIsAway(t *testing.T) {
	onANode(t, func(t *testing.T, n *node) {
		n.settled(t, "Bob")
		n.seq.hangs.Store(true)
		n.sent(t, message("Bob"))
		pass(time.Minute)
		asked := n.seq.asked.Load()
		var all sync.WaitGroup
		var slow atomic.Int64
		for i := range 100 {
			pass(time.Millisecond)
			all.Go(func() {
				d := message(fmt.Sprint("u", i))
				d.Sender = fmt.Sprint("v", i)
				if n.sent(t, d) > 200*time.Millisecond {
					slow.Add(1)
				}
			})
		}
		all.Wait()
		require.Equal(t, asked+1, n.seq.asked.Load())
		require.Equal(t, int64(1), slow.Load())
		n.seq.hangs.Store(false)
		pass(time.Minute)
		reads := n.store.tails.Load()
		n.sent(t, message("Bob")) // is refused, and raises the counter past the tail
		n.sent(t, message("Bob"))
		require.LessOrEqual(t, n.store.tails.Load(), reads+1)
	})
}
