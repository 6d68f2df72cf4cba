package inboxtest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
)

// belowARemovedEnd: retention has removed everything; one device of a user is at the tail, another below it. The second was told that
// nothing is there and stayed where it was for ever.
func belowARemovedEnd(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	w.fill("bob", 1, 10)
	require.NoError(t, a.Purge(context.Background(), w.store, time.Now().Add(2*time.Hour)))
	tails, err := w.store.Tails(context.Background(), []string{"bob"})
	require.NoError(t, err)
	for _, after := range []int64{0, 5, 9, 10} {
		items, next := w.readAll("bob", after)
		require.Empty(t, items)
		require.Equal(t, tails["bob"].Position, next, "after %d", after)
	}
	position := w.send(w.writer(), draft("Alice", "after", "Bob")).Entries[0].Position
	require.Equal(t, tails["bob"].Position+1, position)
	items, _ := w.readAll("bob", 5)
	require.Equal(t, []string{"after"}, contents(items))
}

// latestIsDecided: a client that starts at the latest position gets everything acknowledged from then on, even what was under way.
func latestIsDecided(t *testing.T, a Adapter) {
	for _, at := range []inbox.Step{inbox.StepPositions, inbox.StepEntries} {
		w := newWorld(t, a)
		w.send(w.writer(), draft("Alice", "before", "Bob"))
		stop, reached, goOn := w.stopping(at, 1)
		slow := w.writer(stop)
		sent := make(chan error, 1)
		go func() {
			_, err := slow.Append(context.Background(), draft("Carol", "under way", "Bob"))
			sent <- err
		}()
		<-reached
		w.send(w.writer(), draft("Alice", "meanwhile", "Bob"))
		head, err := w.Head(context.Background(), "bob", 0)
		require.NoError(t, err)
		require.EqualValues(t, 1, head, "at %s", at)
		goOn()
		require.NoError(t, <-sent)
		items, _ := w.readAll("bob", head)
		require.ElementsMatch(t, []string{"under way", "meanwhile"}, contents(items))
		head, err = w.Head(context.Background(), "bob", 0)
		require.NoError(t, err)
		require.EqualValues(t, 3, head)
	}
}

// latestOfALongInbox: Head finds what is under way below any number of later messages, and does not read what is long decided.
func latestOfALongInbox(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	w.raw(store.Received, "bob", 1, time.Now()) // its message is missing
	w.fill("bob", 2, 1000)
	head, err := w.Head(context.Background(), "bob", 0)
	require.NoError(t, err)
	require.Zero(t, head)
	head, err = w.Head(context.Background(), "bob", 1) // what is known is not read again
	require.NoError(t, err)
	require.EqualValues(t, 1000, head)
}

// holeGoesWithItsNeighbor: a hole that outlived the entry above it would be taken for the end of the inbox, and the position above would be
// given to a second message.
func holeGoesWithItsNeighbor(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	w.fill("bob", 3, 3) // kept for an hour, the holes below for the retention
	items, next := w.readAll("bob", 0)
	require.Len(t, items, 1)
	require.EqualValues(t, 3, next)
	require.NoError(t, a.Purge(context.Background(), w.store, time.Now().Add(2*time.Hour)))
	entries, err := w.store.Entries(context.Background(), "bob", 0, 3)
	require.NoError(t, err)
	require.Empty(t, entries)
}

// whatRepeatsLeave: the hole that a repeat leaves is kept as long as any entry. If it went before the entries below it, the inbox would
// seem to end there, and its position would be given to a message.
func whatRepeatsLeave(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	writer := w.writer()
	d := draft("Alice", "once", "Bob")
	d.ClientMessageID = "c1"
	first := w.send(writer, d)
	require.True(t, w.send(w.writer(), d).Duplicate, "by a node that does not know it for a repeat")
	entries, err := w.store.Entries(context.Background(), "bob", 0, 2)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	require.False(t, entries[1].PurgeAt.Before(first.Entries[0].PurgeAt))
}

// lastRemovedFirst: no position is given to a second message, in whatever order the store removes entries.
func lastRemovedFirst(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	now := time.Now().UTC().Truncate(time.Millisecond)
	entry := func(position int64, purgeAt time.Time) store.Entry {
		return store.Entry{
			User: "bob", Position: position, Kind: store.Hole, Message: store.NewMessageID(now),
			At: now.Add(-time.Hour), ExpiresAt: now.Add(-time.Hour), PurgeAt: purgeAt,
		}
	}
	_, err := w.store.InsertEntries(context.Background(), []store.Entry{entry(1, now.Add(time.Minute)), entry(2, now.Add(-time.Minute))})
	require.NoError(t, err)
	require.NoError(t, a.Purge(context.Background(), w.store, now))
	entries, err := w.store.Entries(context.Background(), "bob", 0, 2)
	require.NoError(t, err)
	require.Len(t, entries, 1)
	require.Greater(t, w.send(w.writer(), draft("Alice", "after", "Bob")).Entries[0].Position, int64(2))
}
