package inboxtest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
)

// held is a store that holds the bulk inserts of one writer until its gates open.
type held struct {
	store.Log
	entries, messages gate
	reached           chan struct{}
}

func hold(log store.Log) *held {
	return &held{Log: log, entries: newGate(), messages: newGate(), reached: make(chan struct{}, 100)}
}

// gate is closed until it is opened.
type gate struct {
	opened chan struct{}
	once   *sync.Once
}

func newGate() gate { return gate{make(chan struct{}), &sync.Once{}} }

func (g gate) open() { g.once.Do(func() { close(g.opened) }) }

func (h *held) InsertEntries(ctx context.Context, entries []store.Entry) ([]bool, error) {
	h.reached <- struct{}{}
	<-h.entries.opened
	return h.Log.InsertEntries(ctx, entries)
}

func (h *held) InsertMessages(ctx context.Context, messages []store.Message) ([]bool, error) {
	h.reached <- struct{}{}
	<-h.messages.opened
	return h.Log.InsertMessages(ctx, messages)
}

// late starts a send that gets no further than h lets it.
func (w *world) late(h *held, d inbox.Draft) <-chan error {
	writer := w.writer(func(c *inbox.Config) { c.Store = h })
	w.t.Cleanup(func() { // or a failing test would wait for its writer for ever
		h.entries.open()
		h.messages.open()
	})
	done := make(chan error, 1)
	go func() {
		_, err := writer.Append(context.Background(), d)
		done <- err
	}()
	<-h.reached
	return done
}

func holeWonByReader(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	h := hold(w.store)
	late := w.late(h, draft("Alice", "late", "Bob"))
	w.send(w.writer(), draft("Dave", "second", "Bob"))
	w.blocked("bob")
	items, next := w.readAll("bob", 0)
	require.Equal(t, []string{"second"}, contents(items))
	require.EqualValues(t, 2, next)
	h.entries.open()
	h.messages.open()
	require.NoError(t, <-late)
	items, next = w.readAll("bob", 2)
	require.Equal(t, []string{"late"}, contents(items))
	require.EqualValues(t, 3, next)
}

func holeWonByWriter(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	h := hold(w.store)
	late := w.late(h, draft("Alice", "late", "Bob"))
	w.send(w.writer(), draft("Dave", "second", "Bob"))
	w.blocked("bob")
	h.entries.open()
	h.messages.open()
	require.NoError(t, <-late)
	items, _ := w.readAll("bob", 0)
	require.Equal(t, []string{"late", "second"}, contents(items))
}

func preparedWonByReader(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	_, err := w.writer(dying(inbox.StepEntries)).Append(context.Background(), draft("Alice", "lost", "Bob", "Carol"))
	require.ErrorIs(t, err, errDeath)
	w.send(w.writer(), draft("Dave", "second", "Bob", "Carol"))
	w.blocked("bob")
	for _, user := range []string{"bob", "carol"} {
		items, next := w.readAll(user, 0)
		require.Equal(t, []string{"second"}, contents(items))
		require.EqualValues(t, 2, next)
	}
	require.Empty(t, w.history("alice", 1, 10))
}

func waitedForTogether(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	cfg := w.config()
	now := time.Now()
	cfg.HoleTimeout, cfg.Now = time.Minute, func() time.Time { return now }
	reader := inbox.NewReader(cfg)
	for _, step := range []inbox.Step{inbox.StepEntries, inbox.StepPositions, inbox.StepEntries, inbox.StepPositions} {
		_, err := w.writer(dying(step)).Append(context.Background(), draft("Alice", "lost", "Bob"))
		require.ErrorIs(t, err, errDeath)
		w.send(w.writer(), draft("Dave", "sent", "Bob"))
	}
	b, err := reader.Read(context.Background(), "bob", 0, 10)
	require.NoError(t, err)
	require.True(t, b.Blocked)
	require.Zero(t, b.Next)
	now = now.Add(cfg.HoleTimeout) // and no more than that
	seen := 0
	for after, reads := int64(0), 0; seen < 4; reads++ {
		require.Less(t, reads, 10, "still blocked at %d", after)
		b, err := reader.Read(context.Background(), "bob", after, 10)
		require.NoError(t, err)
		seen += len(b.Items)
		after = b.Next
	}
}

func preparedWonByWriter(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	h := hold(w.store)
	h.entries.open()
	late := w.late(h, draft("Alice", "late", "Bob"))
	<-h.reached // the entries are written, the message is held
	w.blocked("bob")
	h.messages.open()
	require.NoError(t, <-late)
	items, _ := w.readAll("bob", 0)
	require.Equal(t, []string{"late"}, contents(items))
}
