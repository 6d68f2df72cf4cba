package inboxtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
)

// mortal is the store as seen by a process that may be killed during a bulk insert: a prefix is written, and the process does not learn of
// it.
type mortal struct {
	store.Log
	// oneIn is the number of bulk inserts per death, on average.
	oneIn int
	dead  atomic.Bool
}

func (m *mortal) dies() bool {
	if m.oneIn > 0 && rand.N(m.oneIn) == 0 {
		m.dead.Store(true)
	}
	return m.dead.Load()
}

func (m *mortal) InsertEntries(ctx context.Context, entries []store.Entry) ([]bool, error) {
	if m.dies() {
		_, _ = m.Log.InsertEntries(ctx, entries[:rand.N(len(entries)+1)])
		return nil, errDeath
	}
	return m.Log.InsertEntries(ctx, entries)
}

func (m *mortal) InsertMessages(ctx context.Context, messages []store.Message) ([]bool, error) {
	if m.dies() {
		// A dead process aborts nothing: only what it had under way may arrive.
		if !messages[0].Tombstone {
			_, _ = m.Log.InsertMessages(ctx, messages[:rand.N(len(messages)+1)])
		}
		return nil, errDeath
	}
	return m.Log.InsertMessages(ctx, messages)
}

// survivesDeaths runs writers that die at every step, and readers that keep a cursor. Afterwards every acknowledged message must have come
// once to each recipient, and every other one to all of them or to none.
func survivesDeaths(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	users := []string{"Ann", "Ben", "Cid", "Dot"}
	const senders, sends = 6, 15
	log := &history{acknowledged: map[string]bool{}, to: map[string][]string{}}
	var sending, reading sync.WaitGroup
	for s := range senders {
		sending.Go(func() {
			for i := range sends {
				w.mortalSend(log, fmt.Sprintf("s%d-m%d", s, i), users)
			}
		})
	}
	done := make(chan struct{})
	seen := make([]map[string]int, len(users))
	next := make([]int64, len(users))
	for i, user := range users {
		seen[i] = map[string]int{}
		reading.Go(func() {
			for {
				ended := isClosed(done)
				items, at := w.readAll(store.Canonical(user), next[i])
				for _, item := range items {
					seen[i][item.Message.Content]++
				}
				next[i] = at
				if ended {
					return
				}
			}
		})
	}
	sending.Wait()
	close(done)
	reading.Wait()
	log.check(t, users, seen)
	for i, user := range users {
		fresh, _ := w.readAll(store.Canonical(user), 0)
		require.Len(t, fresh, len(seen[i]), "%s: a second reading differs from the first", user)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// mortalSend sends a message with a writer that may die anywhere, and retries with new writers, as a client does.
func (w *world) mortalSend(log *history, content string, users []string) {
	to := []string{users[rand.N(len(users))]}
	for _, user := range users {
		if user != to[0] && rand.N(2) == 0 {
			to = append(to, user)
		}
	}
	d := draft("Sam", content, to...)
	d.ClientMessageID = content
	log.sending(content, to)
	for range rand.N(4) + 1 {
		cfg := w.config()
		steps := []inbox.Step{"", inbox.StepPositions, inbox.StepEntries, inbox.StepCommit}
		dying(steps[rand.N(len(steps))])(&cfg)
		cfg.Store = &mortal{Log: w.store, oneIn: 8}
		writer := inbox.NewWriter(cfg)
		_, err := writer.Append(context.Background(), d)
		writer.Stop()
		if err == nil {
			log.acknowledge(content)
			return
		}
	}
}

// history is what the senders of a test know.
type history struct {
	mu           sync.Mutex
	acknowledged map[string]bool
	to           map[string][]string
}

func (h *history) sending(content string, to []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.to[content] = to
}

func (h *history) acknowledge(content string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acknowledged[content] = true
}

func (h *history) check(t *testing.T, users []string, seen []map[string]int) {
	delivered := 0
	for content, to := range h.to {
		got := map[string]int{}
		for i, user := range users {
			if n := seen[i][content]; n > 0 {
				got[user] = n
			}
		}
		if len(got) == 0 {
			require.False(t, h.acknowledged[content], "%s was acknowledged and reached nobody", content)
			continue
		}
		delivered++
		require.Len(t, got, len(to), "%s reached only some: %v of %v", content, got, to)
		for _, user := range to {
			require.Equal(t, 1, got[user], "%s came to %s %d times", content, user, got[user])
		}
	}
	require.Positive(t, delivered)
	t.Logf("%d sends, %d acknowledged, %d delivered", len(h.to), len(h.acknowledged), delivered)
}

// blocked requires that a read of user's inbox stops before the first position.
func (w *world) blocked(user string) {
	w.t.Helper()
	b, err := w.Read(context.Background(), user, 0, 10)
	require.NoError(w.t, err)
	require.True(w.t, b.Blocked)
	require.Zero(w.t, b.Next)
}

func aloneReader(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	_, err := w.writer(dying(inbox.StepEntries)).Append(context.Background(), draft("Alice", "lost", "Bob"))
	require.ErrorIs(t, err, errDeath)
	cfg := w.config()
	cfg.HoleTimeout, cfg.AloneSince = time.Hour, time.Now().Add(time.Second)
	b, err := inbox.NewReader(cfg).Read(context.Background(), "bob", 0, 10)
	require.NoError(t, err)
	require.False(t, b.Blocked)
	require.Equal(t, []int64{1}, b.Skipped)
}

func abortedSendGoesOn(t *testing.T, a Adapter) {
	for _, clientID := range []string{"", "c1"} {
		w := newWorld(t, a)
		h := hold(w.store)
		h.entries.open()
		d := draft("Alice", "late", "Bob")
		d.ClientMessageID = clientID
		late := w.late(h, d)
		<-h.reached
		w.blocked("bob")
		items, next := w.readAll("bob", 0) // the reader wins: position 1 is empty for good
		require.Empty(t, items)
		require.EqualValues(t, 1, next)
		h.messages.open()
		require.NoError(t, <-late)
		items, _ = w.readAll("bob", 1)
		require.Equal(t, []string{"late"}, contents(items))
		if clientID != "" {
			again := w.send(w.writer(), d)
			require.True(t, again.Duplicate)
			require.Equal(t, items[0].Message.ID, again.Message.ID)
		}
	}
}

func skewedReader(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	cfg := w.config()
	cfg.HoleTimeout, cfg.MaxClockSkew = time.Hour, 2*time.Minute
	cfg.Now = func() time.Time { return time.Now().Add(time.Minute) }
	ahead := inbox.NewReader(cfg)
	h := hold(w.store)
	h.entries.open()
	late := w.late(h, draft("Alice", "in time", "Bob"))
	<-h.reached
	for range 3 {
		b, err := ahead.Read(context.Background(), "bob", 0, 10)
		require.NoError(t, err)
		require.True(t, b.Blocked)
	}
	h.messages.open()
	require.NoError(t, <-late)
	items, next := w.readAll("bob", 0)
	require.Equal(t, []string{"in time"}, contents(items))
	require.EqualValues(t, 1, next)
}

// unheard is a store that loses the answers to bulk inserts of entries.
type unheard struct{ store.Log }

func (u unheard) InsertEntries(context.Context, []store.Entry) ([]bool, error) {
	return nil, store.ErrUnavailable
}

// unknownPositions: a repeat does not learn whether its entries were written, and finds its message committed by another attempt. It
// reported the positions it had taken, so readers got the message at an empty position. It must report those that the message names.
func unknownPositions(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	d := draft("Alice", "once", "Bob", "Carol")
	d.ClientMessageID = "c1"
	first := w.send(w.writer(), d)
	repeat := w.send(w.writer(func(c *inbox.Config) { c.Store = unheard{w.store} }), d)
	require.True(t, repeat.Duplicate)
	require.Equal(t, first.Message.ID, repeat.Message.ID)
	require.Equal(t, first.Entries, repeat.Entries)
}
