package inboxtest

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
)

// counting counts the calls and rows that a reader takes from the store.
type counting struct {
	store.Log
	calls, rows int
}

func (c *counting) Entries(ctx context.Context, user string, after, upTo int64) ([]store.Entry, error) {
	entries, err := c.Log.Entries(ctx, user, after, upTo)
	c.calls++
	c.rows += len(entries)
	return entries, err
}

func (c *counting) MessagesOf(ctx context.Context, entries []store.Entry) (map[store.MessageID]store.Message, error) {
	found, err := c.Log.MessagesOf(ctx, entries)
	c.calls++
	c.rows += len(found)
	return found, err
}

func (c *counting) FirstAfter(ctx context.Context, user string, after int64) (int64, error) {
	c.calls++
	return c.Log.FirstAfter(ctx, user, after)
}

func (c *counting) Tails(ctx context.Context, users []string) (map[string]store.Tail, error) {
	c.calls++
	return c.Log.Tails(ctx, users)
}

// fill writes committed messages into an inbox in bulk.
func (w *world) fill(user string, from, to int64) {
	w.t.Helper()
	const bulk = 2000
	now := time.Now().UTC().Truncate(time.Millisecond)
	for from <= to {
		var entries []store.Entry
		var messages []store.Message
		for ; from <= to && len(entries) < bulk; from++ {
			m := store.Message{
				ID: store.NewMessageID(now), Sender: "Alice", Recipients: []string{"Bob"}, Positions: []int64{from}, Content: fmt.Sprint("m", from),
				CreatedAt: now, ExpiresAt: now.Add(time.Hour), PurgeAt: now.Add(time.Hour),
			}
			messages = append(messages, m)
			entries = append(entries, store.Entry{
				User: user, Position: from, Kind: store.Received, Message: m.ID, At: now, ExpiresAt: m.ExpiresAt, PurgeAt: now.Add(time.Hour),
			})
		}
		_, err := w.store.InsertEntries(context.Background(), entries)
		require.NoError(w.t, err)
		_, err = w.store.InsertMessages(context.Background(), messages)
		require.NoError(w.t, err)
	}
}

func historyCost(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	const pages, limit = 10_000, 2
	w.fill("bob", 1, pages*limit)
	cost := func(page int64) (calls, rows int) {
		c := &counting{Log: w.store}
		cfg := w.config()
		cfg.Store = c
		reader := inbox.NewReader(cfg)
		window, err := reader.Page(context.Background(), "bob", page, limit)
		require.NoError(t, err)
		n := 0
		for item, err := range reader.Messages(context.Background(), &window) {
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint("m", item.Entry.Position), item.Message.Content)
			n++
		}
		require.Equal(t, limit, n)
		return c.calls, c.rows
	}
	firstCalls, firstRows := cost(1)
	lastCalls, lastRows := cost(pages)
	require.Equal(t, firstCalls, lastCalls)
	require.Equal(t, firstRows, lastRows)
	require.Equal(t, 2*limit, firstRows)
}

func historyPages(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	const messages, limit = 25, 10
	writer := w.writer()
	var want []string
	for i := range messages {
		content := fmt.Sprint("m", i)
		w.send(writer, draft("Alice", content, "Bob"))
		want = append([]string{content}, want...)
	}
	var byNumber, byPosition []string
	for page := int64(1); page <= 3; page++ {
		byNumber = append(byNumber, contents(w.history("bob", page, limit))...)
	}
	require.Equal(t, want, byNumber)
	require.Empty(t, w.history("bob", 4, limit))
	for before := int64(messages + 1); before > 1; {
		window, err := w.PageBefore(context.Background(), "bob", before, limit)
		require.NoError(t, err)
		require.EqualValues(t, messages, window.Total())
		items := w.window(&window)
		byPosition = append(byPosition, contents(items)...)
		before = window.Above + 1
	}
	require.Equal(t, want, byPosition)
	window, err := w.PageBefore(context.Background(), "bob", 1000, 200)
	require.NoError(t, err)
	require.True(t, window.Whole())
}

func expiry(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	writer := w.writer()
	short := draft("Alice", "short-lived", "Bob")
	short.Lifetime = time.Millisecond
	id := w.send(writer, short).Message.ID
	w.send(writer, draft("Alice", "lasting", "Bob"))
	require.Eventually(t, func() bool {
		b, err := w.Read(context.Background(), "bob", 0, 10)
		require.NoError(t, err)
		checkContiguous(t, 0, b)
		return len(b.Items) == 1 && b.Items[0].Message.Content == "lasting"
	}, patience, time.Millisecond)
	require.Equal(t, []string{"lasting"}, contents(w.history("bob", 1, 10)))
	_, err := w.Message(context.Background(), "bob", id)
	require.ErrorIs(t, err, inbox.ErrNotFound)
	require.NoError(t, a.Purge(context.Background(), w.store, time.Now()))
	items, next := w.readAll("bob", 0)
	require.Equal(t, []string{"lasting"}, contents(items))
	require.EqualValues(t, 2, next)
}

func repeatAfterExpiry(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	writer := w.writer(func(c *inbox.Config) { c.Now = now })
	d := draft("Alice", "again", "Bob")
	d.ClientMessageID, d.Lifetime = "c1", time.Minute
	other := draft("Alice", "something else", "Carol")
	other.ClientMessageID = "c1"
	first := w.send(writer, d)
	// When the send is repeated, and whether the store has been purged by then.
	for _, c := range []struct {
		after  time.Duration
		purged bool
	}{{time.Second, false}, {2 * time.Minute, false}, {2 * time.Minute, true}, {inbox.DefaultRetention - time.Minute, true}} {
		ahead.Store(int64(c.after))
		if c.purged {
			require.NoError(t, a.Purge(context.Background(), w.store, now()))
		}
		d.Lifetime += time.Hour // has no effect
		repeat := w.send(writer, d)
		require.True(t, repeat.Duplicate, "after %s", c.after)
		require.Equal(t, first.Message.ID, repeat.Message.ID)
		require.Equal(t, first.Message.CreatedAt, repeat.Message.CreatedAt)
		require.Equal(t, c.after > time.Minute, len(repeat.Entries) == 0, "nobody is told of what has expired")
		_, err := writer.Append(context.Background(), other)
		require.ErrorIs(t, err, inbox.ErrIdempotencyMismatch, "after %s", c.after)
		known, found, err := writer.Committed(context.Background(), d)
		require.NoError(t, err)
		require.True(t, found)
		require.Equal(t, first.Message.ID, known.Message.ID)
	}
	cfg := w.config()
	cfg.Now = now
	reader := inbox.NewReader(cfg)
	for _, user := range []string{"bob", "carol"} {
		for next, more := int64(0), true; more; {
			b, err := reader.Read(context.Background(), user, next, 100)
			require.NoError(t, err)
			require.Empty(t, b.Items, "%s was given it again", user)
			next, more = b.Next, b.More
		}
	}
}

func repeatOfAFailureAfterExpiry(t *testing.T, a Adapter) {
	for _, purged := range []bool{false, true} {
		w := newWorld(t, a)
		d := draft("Alice", "in the end", "Bob")
		d.ClientMessageID, d.Lifetime = "c1", time.Millisecond
		_, err := w.writer(dying(inbox.StepEntries)).Append(context.Background(), d)
		require.ErrorIs(t, err, errDeath)
		later := w.writer(func(c *inbox.Config) { c.Now = func() time.Time { return time.Now().Add(time.Hour) } })
		if purged {
			require.NoError(t, a.Purge(context.Background(), w.store, time.Now().Add(time.Hour)))
		}
		d.Lifetime = 0
		sent := w.send(later, d)
		require.False(t, sent.Duplicate)
		require.True(t, w.send(later, d).Duplicate)
		items, _ := w.readAll("bob", 0)
		require.Equal(t, []string{"in the end"}, contents(items))
	}
}

func purgeOrder(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	h := hold(w.store)
	h.entries.open()
	d := draft("Alice", "late", "Bob")
	d.ClientMessageID = "c1"
	late := w.late(h, d)
	<-h.reached
	w.blocked("bob")
	w.readAll("bob", 0) // the reader aborts the first attempt
	h.messages.open()
	require.NoError(t, <-late)
	entries, err := w.store.Entries(context.Background(), "bob", 0, 10)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	tombstones, err := w.store.Messages(context.Background(), []store.MessageID{entries[0].Message})
	require.NoError(t, err)
	messages, err := w.store.Messages(context.Background(), []store.MessageID{entries[1].Message})
	require.NoError(t, err)
	tombstone, message := tombstones[entries[0].Message], messages[entries[1].Message]
	require.True(t, tombstone.Tombstone)
	const apart = 10 * time.Minute // clock skew, and the time a store takes to remove what is due
	require.True(t, entries[1].PurgeAt.After(message.PurgeAt.Add(apart)))
	require.True(t, tombstone.PurgeAt.After(entries[0].ExpiresAt.Add(apart)))
	require.True(t, tombstone.PurgeAt.After(message.PurgeAt.Add(apart)))
}

func erasedContent(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	d := draft("Alice", "gone", "Bob")
	d.Lifetime = time.Hour
	id := w.send(w.writer(), d).Message.ID
	require.NoError(t, a.Purge(context.Background(), w.store, time.Now().Add(61*time.Minute))) // by a node whose clock is ahead
	items, next := w.readAll("bob", 0)
	require.Empty(t, items)
	require.EqualValues(t, 1, next)
	require.Empty(t, w.history("bob", 1, 10))
	require.Empty(t, w.history("alice", 1, 10))
	_, err := w.Message(context.Background(), "bob", id)
	require.ErrorIs(t, err, inbox.ErrNotFound)
}

func purgedOldEnd(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	w.fill("bob", 1, 3000)
	require.NoError(t, a.Purge(context.Background(), w.store, time.Now().Add(2*time.Hour)))
	entries, err := w.store.Entries(context.Background(), "bob", 0, 3000)
	require.NoError(t, err)
	require.Empty(t, entries)
	receipt := w.send(w.writer(), draft("Alice", "after", "Bob"))
	position := receipt.Entries[0].Position
	require.Greater(t, position, int64(3000), "a position was used again")
	items, next := w.readAll("bob", 0)
	require.Equal(t, []string{"after"}, contents(items))
	require.Equal(t, position, next)
}

func largeMessages(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	writer := w.writer()
	const messages, size = 12, 1 << 20
	for i := range messages {
		w.send(writer, draft("Alice", fmt.Sprintf("%02d", i)+strings.Repeat("x", size), "Bob"))
	}
	var got []inbox.Item
	next := int64(0)
	for len(got) < messages {
		b, err := w.Read(context.Background(), "bob", next, 100)
		require.NoError(t, err)
		checkContiguous(t, next, b)
		require.NotEmpty(t, b.Items)
		require.LessOrEqual(t, len(b.Items), 5)
		require.Equal(t, len(got)+len(b.Items) < messages, b.More)
		got = append(got, b.Items...)
		next = b.Next
	}
	require.Len(t, w.history("bob", 1, 100), messages)
	for i, item := range got {
		require.Equal(t, fmt.Sprintf("%02d", i), item.Message.Content[:2])
	}
}
