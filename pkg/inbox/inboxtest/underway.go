package inboxtest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
)

// patient is a reader that aborts nothing, unless its clock is moved on.
func (w *world) patient() (reader *inbox.Reader, moveOn func(time.Duration)) {
	cfg := w.config()
	var ahead atomic.Int64
	cfg.HoleTimeout = time.Hour
	cfg.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	return inbox.NewReader(cfg), func(d time.Duration) { ahead.Add(int64(d)) }
}

// stopping makes sends wait at a step until goOn is called; each signals reached when it gets there.
func (w *world) stopping(at inbox.Step, room int) (change func(*inbox.Config), reached chan struct{}, goOn func()) {
	gate := newGate()
	reached = make(chan struct{}, room)
	w.t.Cleanup(gate.open)
	return func(c *inbox.Config) {
		if at == inbox.StepEntries {
			c.Store = TwoSteps(c.Store)
		}
		c.Failpoint = func(_ context.Context, s inbox.Step) error {
			if s == at {
				reached <- struct{}{}
				<-gate.opened
			}
			return nil
		}
	}, reached, gate.open
}

func manyUnderWay(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	const sends = 1500
	stop, reached, goOn := w.stopping(inbox.StepPositions, sends)
	slow := w.writer(stop)
	var sending sync.WaitGroup
	var failed atomic.Int64
	for i := range sends {
		sending.Go(func() {
			if _, err := slow.Append(context.Background(), draft(fmt.Sprint("s", i), "slow", "Bob")); err != nil {
				failed.Add(1)
			}
		})
	}
	for range sends {
		<-reached
	}
	w.send(w.writer(), draft("Dave", "fast", "Bob"))
	reader, _ := w.patient()
	b, err := reader.Read(context.Background(), "bob", 0, 100)
	require.NoError(t, err)
	require.True(t, b.Blocked)
	require.Zero(t, b.Next, "positions that are under way were passed")
	goOn()
	sending.Wait()
	require.Zero(t, failed.Load())
	items, _ := w.readAll("bob", 0)
	require.Len(t, items, sends+1)
}

// raw writes an entry without its message.
func (w *world) raw(kind store.EntryKind, user string, position int64, at time.Time) {
	w.t.Helper()
	at = at.UTC().Truncate(time.Millisecond)
	written, err := w.store.InsertEntries(context.Background(), []store.Entry{{
		User: user, Position: position, Kind: kind, Message: store.NewMessageID(at), At: at, ExpiresAt: at.Add(time.Hour), PurgeAt: at.Add(time.Hour),
	}})
	require.NoError(w.t, err)
	require.Equal(w.t, []bool{true}, written)
}

func wideGap(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	const position = 10_001
	w.raw(store.Hole, "bob", position, time.Now())
	reader, moveOn := w.patient()
	for range 2 {
		b, err := reader.Read(context.Background(), "bob", 0, 100)
		require.NoError(t, err)
		require.True(t, b.Blocked)
		require.Zero(t, b.Next)
	}
	moveOn(time.Hour) // and no more than that
	next := int64(0)
	for reads := 0; next < position; reads++ {
		require.Less(t, reads, 100, "still blocked at %d", next)
		b, err := reader.Read(context.Background(), "bob", next, 100)
		require.NoError(t, err)
		checkContiguous(t, next, b)
		next = b.Next
	}
	entries, err := w.store.Entries(context.Background(), "bob", 0, position)
	require.NoError(t, err)
	require.LessOrEqual(t, len(entries), inbox.DefaultQueueLength+1)
}

func oldEnd(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	w.raw(store.Hole, "bob", 901, time.Now().Add(-48*time.Hour))
	reader, _ := w.patient()
	b, err := reader.Read(context.Background(), "bob", 0, 100)
	require.NoError(t, err)
	checkContiguous(t, 0, b)
	require.False(t, b.Blocked)
	require.EqualValues(t, 900, b.Next)
	entries, err := w.store.Entries(context.Background(), "bob", 0, 1000)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func repeatsLeaveNoHole(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	writer := w.writer()
	d := draft("Eve", "again", "Bob", "Carol")
	d.ClientMessageID = "c1"
	first := w.send(writer, d)
	for range 3 {
		require.Equal(t, first.Entries, w.send(writer, d).Entries)
	}
	d.Content = "something else"
	_, err := writer.Append(context.Background(), d)
	require.ErrorIs(t, err, inbox.ErrIdempotencyMismatch)
	w.send(writer, draft("Alice", "after", "Bob", "Carol"))
	reader, _ := w.patient()
	for _, user := range []string{"bob", "carol"} {
		b, err := reader.Read(context.Background(), user, 0, 100)
		require.NoError(t, err)
		require.False(t, b.Blocked, "%s has to wait", user)
		require.Equal(t, []string{"again", "after"}, contents(b.Items))
	}
}

// repeatAtABlocksEnd: a store that keeps positions in blocks must not take a repeat's position for the end of a new block.
func repeatAtABlocksEnd(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	const block = 128
	w.fill("bob", 1, block-1)
	require.NoError(t, w.seq.Raise(context.Background(), map[string]int64{"bob": block - 1}))
	writer := w.writer()
	d := draft("Eve", "again", "Bob")
	d.ClientMessageID = "c1"
	require.EqualValues(t, block, w.send(writer, d).Entries[0].Position)
	require.True(t, w.send(w.writer(), d).Duplicate, "by a node that does not know it for a repeat")
	head, err := w.Head(context.Background(), "bob", 0)
	require.NoError(t, err)
	require.EqualValues(t, block+1, head)
	require.EqualValues(t, block+2, w.send(writer, draft("Alice", "after", "Bob")).Entries[0].Position)
}

func overloadLeavesNoHole(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	stop, reached, goOn := w.stopping(inbox.StepEntries, 2)
	writer := w.writer(stop, func(c *inbox.Config) { c.QueueLength = 1 })
	send := func(content string) <-chan error {
		done := make(chan error, 1)
		go func() {
			_, err := writer.Append(context.Background(), draft("Alice", content, "Bob"))
			done <- err
		}()
		return done
	}
	first := send("first")
	<-reached
	select {
	case err := <-send("too many"):
		require.ErrorIs(t, err, inbox.ErrOverloaded)
	case <-reached:
		require.Fail(t, "it was let in")
	}
	goOn()
	require.NoError(t, <-first)
	w.send(w.writer(), draft("Alice", "second", "Bob"))
	reader, _ := w.patient()
	b, err := reader.Read(context.Background(), "bob", 0, 100)
	require.NoError(t, err)
	require.False(t, b.Blocked)
	require.Equal(t, []string{"first", "second"}, contents(b.Items))
}

func ownSendUnderWay(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	w.raw(store.Sent, "bob", 1, time.Now())
	w.blocked("bob")
	items, next := w.readAll("bob", 0)
	require.Empty(t, items)
	require.EqualValues(t, 1, next)
}

func endOfTheWindow(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	w.fill("bob", 1, 127)
	w.fill("bob", 129, 130)
	reader, _ := w.patient()
	b, err := reader.Read(context.Background(), "bob", 0, 127)
	require.NoError(t, err)
	require.EqualValues(t, 127, b.Next)
	require.True(t, b.More, "a hole was taken for the head")
}

// weighing records the most bytes of content that were fetched at once.
type weighing struct {
	store.Log
	most int
}

func (w *weighing) MessagesOf(ctx context.Context, entries []store.Entry) (map[store.MessageID]store.Message, error) {
	found, err := w.Log.MessagesOf(ctx, entries)
	bytes := 0
	for _, m := range found {
		bytes += len(m.Content)
	}
	w.most = max(w.most, bytes)
	return found, err
}

func largeAfterSmall(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	writer := w.writer()
	const large, size = 8, 3 << 20
	for i := range 20 + large {
		content := "small"
		if i >= 20 {
			content = strings.Repeat("x", size)
		}
		w.send(writer, draft("Bob", content, "Bob"))
	}
	scale := &weighing{Log: w.store}
	cfg := w.config()
	cfg.Store = scale
	reader := inbox.NewReader(cfg)
	got := 0
	for next := int64(0); got < 20+large; {
		b, err := reader.Read(context.Background(), "bob", next, 1000)
		require.NoError(t, err)
		require.NotEmpty(t, b.Items)
		got, next = got+len(b.Items), b.Next
	}
	window, err := reader.Page(context.Background(), "bob", 1, 100)
	require.NoError(t, err)
	shown := 0
	for _, err := range reader.Messages(context.Background(), &window) {
		require.NoError(t, err)
		shown++
	}
	require.Equal(t, 20+large, shown)
	require.LessOrEqual(t, scale.most, 2*size)
}
