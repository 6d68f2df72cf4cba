// Package inboxtest is the contract suite of the inbox log over a store: every adapter must pass it. It injects deaths between any two
// steps of a send and during its bulk inserts.
package inboxtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/memseq"
	"github.com/sealpost/sealpost/pkg/store"
)

// Adapter is what the suite needs of a store.
type Adapter struct {
	// Open makes an empty store, closed when the test ends.
	Open func(t *testing.T) store.Store
	// Purge removes what has passed its time.
	Purge func(ctx context.Context, s store.Store, now time.Time) error

	// twoSteps makes all writers commit in two steps.
	twoSteps bool
}

// patience bounds waiting for a condition; only a failing test takes that long.
const patience = 30 * time.Second

// holeTimeout is short: tests wait for readers to decide positions.
const holeTimeout = 100 * time.Millisecond

// errDeath is the error with which an injected death ends a call.
var errDeath = errors.New("killed here")

// TwoSteps hides that a store can write a send in one step.
func TwoSteps(s store.Log) store.Log { return struct{ store.Log }{s} }

// Run runs the suite, for both ways if the store can write a send in one step.
func Run(t *testing.T, a Adapter) {
	if _, can := a.Open(t).(store.Committer); !can {
		run(t, a)
		return
	}
	t.Run("in one step", func(t *testing.T) { run(t, a) })
	a.twoSteps = true
	t.Run("in two steps", func(t *testing.T) { run(t, a) })
}

func run(t *testing.T, a Adapter) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Adapter)
	}{
		{"a message reaches each recipient once and in order", deliversInOrder},
		{"the sender's own entry is skipped by reads and shown by the history", sendersEntry},
		{"readers miss and repeat nothing while writers run and die at any step", survivesDeaths},
		{"a hole is closed by a tombstone, and its late writer takes another position", holeWonByReader},
		{"a hole whose writer comes in time is served", holeWonByWriter},
		{"a prepared entry without its message is aborted for all recipients", preparedWonByReader},
		{"what dead writers left one behind the other is waited for together", waitedForTogether},
		{"what a writer that is known to be gone has left is aborted at once", aloneReader},
		{"a prepared entry whose message comes in time is served", preparedWonByWriter},
		{"a send that a reader aborted succeeds under the next id", abortedSendGoesOn},
		{"concurrent repeats of a send make one message", concurrentRepeats},
		{"a repeat that does not know where its entries stand tells where the message's are", unknownPositions},
		{"another content under the same client message id is refused and shown to nobody", mismatchLeaksNothing},
		{"a half-written send of another content is in nobody's way", foreignLeftover},
		{"a repeat after the message has expired is known as one for the whole retention", repeatAfterExpiry},
		{"a repeat after the expiry of a send that was never committed is delivered", repeatOfAFailureAfterExpiry},
		{"a message is removed before its entries, and after them its tombstones", purgeOrder},
		{"a message whose content is erased is not shown, whatever the reader's clock says", erasedContent},
		{"a sequencer that forgets, repeats or is away loses and repeats nothing", sequencerFaults},
		{"no message takes a free position below one that was acknowledged before", laggingCounters},
		{"a reader whose clock runs ahead aborts no send", skewedReader},
		{"however much is under way, readers pass none of it", manyUnderWay},
		{"a wide gap is passed only when nothing can come there any more", wideGap},
		{"what is missing below an entry of long ago is skipped at once, and nothing is written", oldEnd},
		{"repeats make nobody wait", repeatsLeaveNoHole},
		{"repeats of what a node has seen take no positions", knownRepeatsTakeNothing},
		{"of a sender's repeats at another node, only the first takes positions", strangeRepeatsTakeLittle},
		{"sends under one id at once take positions once", atOnceUnderOneID},
		{"a send that is looked up goes on past what was aborted", lookedUpPastATombstone},
		{"a send that cannot be looked up is told to come again", lookUpFails},
		{"a repeat moves the head by the position that it closes, and no further", repeatAtABlocksEnd},
		{"a send that is refused for overload makes nobody wait", overloadLeavesNoHole},
		{"a sender's own entry is passed once its send is decided", ownSendUnderWay},
		{"a hole at the end of what one read looks at is not taken for the head", endOfTheWindow},
		{"large messages after small ones are fetched a few at a time", largeAfterSmall},
		{"a history page costs the same on page 1 and on page 10,000", historyCost},
		{"history pages by number and by position agree", historyPages},
		{"history pages are filled with messages, whatever lies between them", filledPages},
		{"a page's work is bounded, and the next goes on where it stopped", boundedPages},
		{"expired messages are not shown and their positions are skipped", expiry},
		{"what was purged at the old end is skipped, and positions go on", purgedOldEnd},
		{"a reader below an end that retention has removed goes on at the tail", belowARemovedEnd},
		{"a tombstone goes no later than the entry above it", holeGoesWithItsNeighbor},
		{"what a repeat leaves is kept as long as the entries below it", whatRepeatsLeave},
		{"no position is given twice, whatever is removed first", lastRemovedFirst},
		{"the latest position passes no send that is under way", latestIsDecided},
		{"what is under way is found below however many later messages", latestOfALongInbox},
		{"a position past the head is recognised", pastHead},
		{"a read of large messages is bounded in bytes and goes on where it stopped", largeMessages},
		{"nobody finds or marks what is neither theirs nor addressed to them", strangers},
		{"a read receipt counts once and is shown by recipient", receipts},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.run(t, a)
		})
	}
}

// world is a store with a reader, from which tests make writers.
type world struct {
	t        *testing.T
	twoSteps bool
	store    store.Store
	seq      inbox.Sequencer
	*inbox.Reader
}

func newWorld(t *testing.T, a Adapter) *world {
	s := a.Open(t)
	w := &world{t: t, twoSteps: a.twoSteps, store: s, seq: memseq.New(1 << 16)}
	w.Reader = inbox.NewReader(w.config())
	return w
}

func (w *world) config() inbox.Config {
	var log store.Log = w.store
	if w.twoSteps {
		log = TwoSteps(log)
	}
	return inbox.Config{
		Store: log, Sequencer: w.seq, HoleTimeout: holeTimeout, WriteTimeout: 20 * time.Second, MaxClockSkew: 10 * time.Minute,
	}
}

func (w *world) writer(change ...func(*inbox.Config)) *inbox.Writer {
	cfg := w.config()
	for _, f := range change {
		f(&cfg)
	}
	writer := inbox.NewWriter(cfg)
	w.t.Cleanup(writer.Stop)
	return writer
}

// dying makes a writer die at a step.
func dying(at inbox.Step) func(*inbox.Config) {
	return func(c *inbox.Config) {
		if at == inbox.StepEntries {
			c.Store = TwoSteps(c.Store)
		}
		c.Failpoint = func(_ context.Context, s inbox.Step) error {
			if s == at {
				return errDeath
			}
			return nil
		}
	}
}

func draft(sender, content string, to ...string) inbox.Draft {
	d := inbox.Draft{Sender: sender, Content: content, IV: "iv"}
	for _, name := range to {
		d.Recipients = append(d.Recipients, inbox.Recipient{Username: name, WrappedKey: "key of " + content + " for " + name})
	}
	return d
}

func (w *world) send(writer *inbox.Writer, d inbox.Draft) inbox.Receipt {
	w.t.Helper()
	r, err := writer.Append(context.Background(), d)
	require.NoError(w.t, err)
	return r
}

// readAll reads from a position to the inbox's head, waits for what is undecided, and checks that every position is accounted for once.
func (w *world) readAll(user string, after int64) (items []inbox.Item, next int64) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		b, err := w.Read(context.Background(), user, after, 10)
		require.NoError(w.t, err)
		require.False(w.t, b.PastHead)
		checkContiguous(w.t, after, b)
		items = append(items, b.Items...)
		after = b.Next
		if !b.More && !b.Blocked {
			return items, after
		}
		require.True(w.t, time.Now().Before(deadline), "%s is blocked at %d", user, after)
	}
}

// checkContiguous checks that each position after the requested one is an item's or skipped.
func checkContiguous(t require.TestingT, after int64, b inbox.Batch) {
	covered := slices.Clone(b.Skipped)
	for _, item := range b.Items {
		covered = append(covered, item.Entry.Position)
	}
	slices.Sort(covered)
	require.Len(t, covered, int(b.Next-after))
	for i, p := range covered {
		require.Equal(t, after+int64(i)+1, p)
	}
}

func contents(items []inbox.Item) []string {
	list := make([]string, len(items))
	for i, item := range items {
		list[i] = item.Message.Content
	}
	return list
}

func deliversInOrder(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	writer := w.writer()
	for i := range 25 {
		w.send(writer, draft("Alice", fmt.Sprint("m", i), "Bob", "Carol"))
	}
	for _, user := range []string{"bob", "carol"} {
		items, next := w.readAll(user, 0)
		require.EqualValues(t, 25, next)
		for i, item := range items {
			require.Equal(t, fmt.Sprint("m", i), item.Message.Content)
			require.EqualValues(t, i+1, item.Entry.Position)
			require.Equal(t, []string{"Bob", "Carol"}, item.Message.Recipients)
			require.Contains(t, item.Entry.WrappedKey, "for "+map[string]string{"bob": "Bob", "carol": "Carol"}[user])
		}
	}
}

func sendersEntry(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	writer := w.writer()
	w.send(writer, draft("Alice", "to bob", "Bob"))
	w.send(writer, draft("Alice", "to both", "Alice", "Bob"))
	items, next := w.readAll("alice", 0)
	require.Equal(t, []string{"to both"}, contents(items))
	require.EqualValues(t, 2, next)
	require.Equal(t, []string{"to both", "to bob"}, contents(w.history("alice", 1, 10)))
}

func (w *world) history(user string, page, limit int64) []inbox.Item {
	w.t.Helper()
	window, err := w.Page(context.Background(), user, page, limit)
	require.NoError(w.t, err)
	return w.window(&window)
}

func (w *world) window(window *inbox.Window) []inbox.Item {
	w.t.Helper()
	var items []inbox.Item
	for item, err := range w.Messages(context.Background(), window) {
		require.NoError(w.t, err)
		items = append(items, item)
	}
	return items
}

func pastHead(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	w.send(w.writer(), draft("Alice", "one", "Bob"))
	for after, want := range map[int64]bool{0: false, 1: false, 2: true, 1 << 50: true} {
		b, err := w.Read(context.Background(), "bob", after, 10)
		require.NoError(t, err)
		require.Equal(t, want, b.PastHead, "after %d", after)
	}
}

func strangers(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	id := w.send(w.writer(), draft("Alice", "secret", "Bob")).Message.ID
	for _, user := range []string{"alice", "bob"} {
		item, err := w.Message(context.Background(), user, id)
		require.NoError(t, err)
		require.Equal(t, "secret", item.Message.Content)
	}
	_, err := w.Message(context.Background(), "mallory", id)
	require.ErrorIs(t, err, inbox.ErrNotFound)
	require.ErrorIs(t, w.MarkRead(context.Background(), "mallory", id), inbox.ErrNotFound)
	require.ErrorIs(t, w.MarkRead(context.Background(), "bob", store.MessageID{1}), inbox.ErrNotFound)
	require.Empty(t, w.history("mallory", 1, 10))
}

func receipts(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	m := w.send(w.writer(), draft("Alice", "hello", "Carol", "Bob")).Message
	require.NoError(t, w.MarkRead(context.Background(), "alice", m.ID), "the sender's marking does nothing")
	list, err := w.Receipts(context.Background(), m)
	require.NoError(t, err)
	require.Empty(t, list)
	require.NoError(t, w.MarkRead(context.Background(), "carol", m.ID))
	first, err := w.Receipts(context.Background(), m)
	require.NoError(t, err)
	require.NoError(t, w.MarkRead(context.Background(), "carol", m.ID))
	require.NoError(t, w.MarkRead(context.Background(), "bob", m.ID))
	list, err = w.Receipts(context.Background(), m)
	require.NoError(t, err)
	require.Equal(t, "Bob", list[0].User)
	require.Equal(t, first, list[1:])
	item, err := w.Message(context.Background(), "carol", m.ID)
	require.NoError(t, err)
	require.False(t, item.Unread())

	other := w.send(w.writer(), draft("Alice", "again", "Carol", "Dave")).Message
	unread := w.send(w.writer(), draft("Alice", "unread", "Carol")).Message
	require.NoError(t, w.MarkRead(context.Background(), "dave", other.ID))
	all, err := w.ReceiptsOf(context.Background(), []store.Message{m, other, unread})
	require.NoError(t, err)
	require.Equal(t, list, all[m.ID])
	require.Len(t, all[other.ID], 1)
	require.Equal(t, "Dave", all[other.ID][0].User)
	require.Empty(t, all[unread.ID])
}
