package inboxtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/memseq"
)

// faulty is a sequencer whose faults a test controls.
type faulty struct {
	inner       atomic.Pointer[memseq.Sequencer]
	away        atomic.Bool
	incarnation atomic.Uint64
}

// become replaces the counters.
func (f *faulty) become(s *memseq.Sequencer) {
	f.inner.Store(s)
	f.incarnation.Add(1)
}

func (f *faulty) Incarnation() uint64 { return f.incarnation.Load() }

var errAway = errors.New("sequencer away")

func (f *faulty) Next(ctx context.Context, users []string) ([]int64, error) {
	if f.away.Load() {
		return nil, errAway
	}
	return f.inner.Load().Next(ctx, users)
}

func (f *faulty) Raise(ctx context.Context, floors map[string]int64) error {
	if f.away.Load() {
		return errAway
	}
	return f.inner.Load().Raise(ctx, floors)
}

func sequencerFaults(t *testing.T, a Adapter) {
	w := newWorld(t, a)
	seq := &faulty{}
	seq.become(memseq.New(1000))
	w.seq = seq
	writers := []*inbox.Writer{w.writer(), w.writer()}
	const phases, sends = 5, 20
	faults := []func(){
		func() {},
		func() { seq.become(memseq.New(1000)) }, // emptied
		func() { // rolled back
			old := memseq.New(1000)
			require.NoError(t, old.Raise(context.Background(), map[string]int64{"bob": 3, "carol": 1}))
			seq.become(old)
		},
		func() { seq.away.Store(true) },
		func() { seq.away.Store(false) },
	}
	sent := map[string]bool{}
	for phase, fault := range faults {
		fault()
		var all sync.WaitGroup
		for i := range sends {
			content := fmt.Sprintf("p%d-%d", phase, i)
			sent[content] = true
			all.Go(func() {
				d := draft("Alice", content, "Bob", "Carol")
				d.ClientMessageID = content
				_, err := writers[i%2].Append(context.Background(), d)
				require.NoError(t, err)
			})
		}
		all.Wait()
	}
	for _, user := range []string{"bob", "carol"} {
		items, _ := w.readAll(user, 0)
		require.Len(t, items, phases*sends)
		for _, item := range items {
			require.True(t, sent[item.Message.Content])
		}
	}
}

// laggingCounters: a position that a failed send took and did not use is free; a counter that went back would hand it out.
func laggingCounters(t *testing.T, a Adapter) {
	older := memseq.New(1000)
	require.NoError(t, older.Raise(context.Background(), map[string]int64{"bob": 2}))
	for what, c := range map[string]struct{ before, after func(*faulty) }{
		"counters of an older copy":                {func(*faulty) {}, func(s *faulty) { s.become(older) }},
		"counters that missed what came without":   {func(s *faulty) { s.away.Store(true) }, func(s *faulty) { s.away.Store(false) }},
		"counters that are gone, by way of others": {func(*faulty) {}, func(s *faulty) { s.become(memseq.New(1000)) }},
	} {
		w := newWorld(t, a)
		seq := &faulty{}
		seq.become(memseq.New(1000))
		w.seq = seq
		var fails atomic.Bool
		one, other := w.writer(failing(&fails)), w.writer()
		send := func(writer *inbox.Writer, content string) int64 {
			return w.send(writer, draft("Bob", content, "Bob")).Entries[0].Position
		}
		require.EqualValues(t, 1, send(one, "first"), what)
		require.EqualValues(t, 2, send(other, "second"), what)
		c.before(seq)
		fails.Store(true)
		_, err := one.Append(context.Background(), draft("Bob", "never written", "Bob"))
		require.ErrorIs(t, err, errDeath)
		fails.Store(false)
		acknowledged := send(one, "third")
		c.after(seq)
		require.Greater(t, send(other, "fourth"), acknowledged, what)
	}
}

// failing makes sends fail after they took positions, while on is set.
func failing(on *atomic.Bool) func(*inbox.Config) {
	return func(c *inbox.Config) {
		c.Failpoint = func(_ context.Context, s inbox.Step) error {
			if s == inbox.StepPositions && on.Load() {
				return errDeath
			}
			return nil
		}
	}
}
