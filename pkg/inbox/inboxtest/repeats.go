package inboxtest

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
)

func concurrentRepeats(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	writers := []*inbox.Writer{w.writer(), w.writer()}
	d := draft("Alice", "once", "Bob", "Carol")
	d.ClientMessageID = "c1"
	const repeats = 32
	results := make([]inbox.Receipt, repeats)
	var all sync.WaitGroup
	for i := range repeats {
		all.Go(func() {
			var err error
			results[i], err = writers[i%2].Append(context.Background(), d)
			require.NoError(t, err)
		})
	}
	all.Wait()
	fresh := 0
	for _, r := range results {
		require.Equal(t, results[0].Message.ID, r.Message.ID)
		if !r.Duplicate {
			fresh++
		}
	}
	require.Equal(t, 1, fresh)
	for _, user := range []string{"bob", "carol"} {
		items, _ := w.readAll(user, 0)
		require.Equal(t, []string{"once"}, contents(items))
	}
	d.Sender = "Dave"
	require.NotEqual(t, results[0].Message.ID, w.send(writers[0], d).Message.ID, "another sender's client message id is another one")
}

func mismatchLeaksNothing(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	writer := w.writer()
	first, other := draft("Alice", "for bob", "Bob"), draft("Alice", "for carol", "Carol")
	first.ClientMessageID, other.ClientMessageID = "c1", "c1"
	// Both at once, so that each may have prepared its entries when the other commits.
	var errs [2]error
	var all sync.WaitGroup
	for i, d := range []inbox.Draft{first, other} {
		all.Go(func() { _, errs[i] = writer.Append(context.Background(), d) })
	}
	all.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		} else {
			require.ErrorIs(t, err, inbox.ErrIdempotencyMismatch)
		}
	}
	require.Equal(t, 1, won)
	bob, _ := w.readAll("bob", 0)
	carol, _ := w.readAll("carol", 0)
	for _, item := range bob {
		require.Equal(t, "for bob", item.Message.Content)
	}
	for _, item := range carol {
		require.Equal(t, "for carol", item.Message.Content)
	}
	require.Equal(t, won, len(bob)+len(carol))

	settled := draft("Alice", "settled", "Bob")
	settled.ClientMessageID = "c2"
	w.send(writer, settled)
	settled.Recipients = draft("Alice", "settled", "Carol").Recipients
	_, err := writer.Append(context.Background(), settled)
	require.ErrorIs(t, err, inbox.ErrIdempotencyMismatch)
	after, _ := w.readAll("carol", 0)
	require.Equal(t, contents(carol), contents(after))
}

func foreignLeftover(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	d := draft("Alice", "first try", "Bob")
	d.ClientMessageID = "c1"
	_, err := w.writer(dying(inbox.StepEntries)).Append(context.Background(), d)
	require.ErrorIs(t, err, errDeath)
	again := draft("Alice", "sealed anew", "Bob")
	again.ClientMessageID = "c1"
	require.False(t, w.send(w.writer(), again).Duplicate)
	reader, _ := w.patient()
	b, err := reader.Read(context.Background(), "bob", 0, 10)
	require.NoError(t, err)
	require.False(t, b.Blocked, "its entry is known to count for nothing")
	require.Equal(t, []string{"sealed anew"}, contents(b.Items))
	require.Equal(t, "key of sealed anew for Bob", b.Items[0].Entry.WrappedKey)
	require.Equal(t, []string{"sealed anew"}, contents(w.history("bob", 1, 10)))
	require.Equal(t, []string{"sealed anew"}, contents(w.history("alice", 1, 10)))
	_, err = w.writer().Append(context.Background(), d)
	require.ErrorIs(t, err, inbox.ErrIdempotencyMismatch)
}
