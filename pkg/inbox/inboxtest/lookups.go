package inboxtest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
)

// identified is a draft with a client message id.
func identified(id, sender, content string, to ...string) inbox.Draft {
	d := draft(sender, content, to...)
	d.ClientMessageID = id
	return d
}

// tail is the highest position in an inbox.
func (w *world) tail(user string) int64 {
	w.t.Helper()
	tails, err := w.store.Tails(context.Background(), []string{user})
	require.NoError(w.t, err)
	return tails[user].Position
}

// refuses requires that a send is refused because its id was used with other content.
func (w *world) refuses(writer *inbox.Writer, d inbox.Draft) {
	w.t.Helper()
	_, err := writer.Append(context.Background(), d)
	require.ErrorIs(w.t, err, inbox.ErrIdempotencyMismatch)
}

func knownRepeatsTakeNothing(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	writer := w.writer()
	first := w.send(writer, identified("c1", "Eve", "again", "Bob", "Carol"))
	for i := range 20 {
		repeat := w.send(writer, identified("c1", "Eve", "again", "Bob", "Carol"))
		require.True(t, repeat.Duplicate)
		require.Equal(t, first.Entries, repeat.Entries, "its events are published again")
		w.refuses(writer, identified("c1", "Eve", fmt.Sprint("other ", i), "Bob", "Carol", "Dave"))
	}
	for user, want := range map[string]int64{"bob": 1, "carol": 1, "dave": 0, "eve": 1} {
		require.Equal(t, want, w.tail(user), user)
	}
	require.EqualValues(t, 2, w.send(writer, identified("c2", "Eve", "after", "Bob")).Entries[0].Position)
}

func strangeRepeatsTakeLittle(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	here := w.writer()
	const sends = 20
	firsts := map[string]inbox.Receipt{}
	for i := range sends {
		id := fmt.Sprint("c", i)
		firsts[id] = w.send(here, identified(id, "Eve", "hello", "Bob"))
	}
	honest := w.send(here, identified("c1", "Alice", "hello", "Bob"))
	there := w.writer()
	for i := range sends {
		w.refuses(there, identified(fmt.Sprint("c", i), "Eve", "other", "Bob"))
	}
	require.EqualValues(t, sends+2, w.tail("bob"), "only the first was in anybody's way")
	for id, first := range firsts {
		repeat := w.send(there, identified(id, "Eve", "hello", "Bob"))
		require.True(t, repeat.Duplicate)
		require.Equal(t, first.Message.ID, repeat.Message.ID)
		require.Equal(t, first.Entries, repeat.Entries)
	}
	require.EqualValues(t, sends+2, w.tail("bob"))
	require.Equal(t, honest.Entries, w.send(there, identified("c1", "Alice", "hello", "Bob")).Entries)
	fresh := w.send(there, identified("new", "Eve", "new", "Bob"))
	require.False(t, fresh.Duplicate, "who is looked up can still send")
	items, _ := w.readAll("bob", 0)
	require.Len(t, items, sends+2)
}

// atOnceUnderOneID: each of them would take positions before the first is committed.
func atOnceUnderOneID(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	writer := w.writer()
	const sends = 32
	var all sync.WaitGroup
	var accepted, refused atomic.Int64
	for i := range sends {
		all.Go(func() {
			_, err := writer.Append(context.Background(), identified("c1", "Eve", fmt.Sprint("m", i), "Bob"))
			if err == nil {
				accepted.Add(1)
				return
			}
			require.ErrorIs(t, err, inbox.ErrIdempotencyMismatch)
			refused.Add(1)
		})
	}
	all.Wait()
	require.EqualValues(t, 1, accepted.Load())
	require.EqualValues(t, sends-1, refused.Load())
	require.EqualValues(t, 1, w.tail("bob"))
}

// lookedUpPastATombstone: the id of an attempt that a reader has aborted is passed, and the next is used, as without a look-up.
func lookedUpPastATombstone(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	d := identified("c1", "Eve", "second try", "Bob")
	_, err := w.writer(dying(inbox.StepEntries)).Append(context.Background(), d)
	require.ErrorIs(t, err, errDeath)
	_, next := w.readAll("bob", 0)
	require.EqualValues(t, 1, next, "aborted")

	w.send(w.writer(), identified("c0", "Eve", "hello", "Bob"))
	suspicious := w.writer()
	w.refuses(suspicious, identified("c0", "Eve", "other", "Bob"))
	require.EqualValues(t, 3, w.tail("bob"))
	sent := w.send(suspicious, d)
	require.False(t, sent.Duplicate)
	require.EqualValues(t, 4, sent.Entries[0].Position, "the aborted id took none")
	for _, writer := range []*inbox.Writer{suspicious, w.writer()} {
		repeat := w.send(writer, d)
		require.True(t, repeat.Duplicate)
		require.Equal(t, sent.Entries, repeat.Entries)
	}
	items, _ := w.readAll("bob", 0)
	require.Equal(t, []string{"hello", "second try"}, contents(items))
}

// blind is a store whose messages cannot be read while it is told so.
type blind struct {
	store.Log
	dark atomic.Bool
}

func (b *blind) Messages(ctx context.Context, ids []store.MessageID) (map[store.MessageID]store.Message, error) {
	if b.dark.Load() {
		return nil, store.ErrUnavailable
	}
	return b.Log.Messages(ctx, ids)
}

func lookUpFails(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	var b *blind
	writer := w.writer(func(c *inbox.Config) { b = &blind{Log: c.Store}; c.Store = b })
	d := identified("c1", "Eve", "hello", "Bob")
	first := w.send(writer, d)
	b.dark.Store(true)
	_, err := writer.Append(context.Background(), d)
	require.ErrorIs(t, err, inbox.ErrNotCommitted)
	require.ErrorIs(t, err, store.ErrUnavailable)
	b.dark.Store(false)
	require.Equal(t, first.Entries, w.send(writer, d).Entries)
	require.EqualValues(t, 1, w.tail("bob"))
}

// leave writes what repeats have left in an inbox before they were looked up: entries of a message that names another position. Every
// other one is a hole instead.
func (w *world) leave(user string, from, to int64, of store.Message) {
	w.t.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	for from <= to {
		var entries []store.Entry
		for ; from <= to && len(entries) < 2000; from++ {
			e := store.Entry{
				User: user, Position: from, Kind: store.Received, Message: of.ID, Size: len(of.Content), At: now,
				ExpiresAt: of.ExpiresAt, PurgeAt: of.PurgeAt,
			}
			if from%2 == 0 {
				e.Kind, e.Message, e.Size = store.Hole, store.NewMessageID(now), 0
			}
			entries = append(entries, e)
		}
		_, err := w.store.InsertEntries(context.Background(), entries)
		require.NoError(w.t, err)
	}
}

func filledPages(t *testing.T, a Adapter) {
	for _, empty := range []int64{55, 3000} {
		w := newWorld(t, a)
		const messages, limit = 125, 50
		w.fill("bob", 1, messages)
		m := w.send(w.writer(), draft("Alice", "elsewhere", "Carol")).Message
		w.leave("bob", messages+1, messages+empty, m)
		w.fill("bob", messages+empty+1, messages+empty+1)

		first := w.history("bob", 1, limit)
		require.Len(t, first, 1, "what the next page shows is not repeated")
		require.Equal(t, messages+empty+1, first[0].Entry.Position)
		if empty >= 2*limit { // nothing but empty positions
			for i, item := range w.history("bob", 2, limit) {
				require.EqualValues(t, messages-i, item.Entry.Position)
			}
		}
		shown := map[int64]bool{}
		for page := int64(1); page <= (messages+empty+1+limit-1)/limit; page++ {
			items := w.history("bob", page, limit)
			require.NotEmpty(t, items, "page %d", page)
			for _, item := range items {
				shown[item.Entry.Position] = true
			}
		}
		require.Len(t, shown, messages+1, "pages by number leave none out")

		var walked []int64
		for before := int64(1 << 40); before > 1; {
			window, err := w.PageBefore(context.Background(), "bob", before, limit)
			require.NoError(t, err)
			items := w.window(&window)
			require.Len(t, items, int(min(limit, messages+1-int64(len(walked)))))
			for _, item := range items {
				walked = append(walked, item.Entry.Position)
			}
			before = window.Above + 1
		}
		require.Len(t, walked, messages+1)
		for i, position := range walked[1:] {
			require.EqualValues(t, messages-i, position, "pages by position repeat none and leave none out")
		}
	}
}

func boundedPages(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	const messages, empty, limit = 5, 20_000, 50
	w.fill("bob", 1, messages)
	m := w.send(w.writer(), draft("Alice", "elsewhere", "Carol")).Message
	w.leave("bob", messages+1, messages+empty, m)
	c := &counting{Log: w.store}
	cfg := w.config()
	cfg.Store = c
	reader := inbox.NewReader(cfg)
	pages, before := 0, int64(messages+empty+1)
	var shown []inbox.Item
	for ; before > 1; pages++ {
		require.Less(t, pages, 10, "it does not go on")
		c.calls, c.rows = 0, 0
		window, err := reader.PageBefore(context.Background(), "bob", before, limit)
		require.NoError(t, err)
		for item, err := range reader.Messages(context.Background(), &window) {
			require.NoError(t, err)
			shown = append(shown, item)
		}
		require.Less(t, window.Above+1, before)
		before = window.Above + 1
		// A chunk of entries costs one call for them, and one for each limit of messages that they may lead to.
		require.LessOrEqual(t, c.calls, 500)
		require.LessOrEqual(t, c.rows, 20_000)
	}
	require.Len(t, shown, messages)
	require.Equal(t, 3, pages)
}
