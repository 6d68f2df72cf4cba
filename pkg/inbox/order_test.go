package inbox_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/memseq"
	"github.com/sealpost/sealpost/pkg/store/sqlite"
)

// doomed marks the context of a send that is to die.
type doomed struct{}

var errDeath = errors.New("killed here")

// nodes are processes with one store and one sequencer, each with its own way to it.
type nodes struct {
	t     *testing.T
	store *slow
	seq   *memseq.Sequencer
}

// process is one of them. at, if it is set, is called at each step of its sends.
type process struct {
	*inbox.Writer
	t   *testing.T
	seq *unsteady
	mu  sync.Mutex
	at  func(context.Context, inbox.Step) error
}

// onNodes runs a test in virtual time.
func onNodes(t *testing.T, test func(*nodes)) {
	synctest.Test(t, func(t *testing.T) {
		s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		test(&nodes{t: t, store: slowly(s, time.Millisecond), seq: memseq.New(100)})
	})
}

// start starts a process and lets it believe the counters of Alice, Bob and Dora.
func (n *nodes) start(use func(*process)) {
	p := &process{t: n.t, seq: &unsteady{Sequencer: n.seq}}
	p.Writer = inbox.NewWriter(inbox.Config{Store: n.store, Sequencer: p.seq, Failpoint: func(ctx context.Context, s inbox.Step) error {
		p.mu.Lock()
		at := p.at
		p.mu.Unlock()
		if at == nil {
			return nil
		}
		return at(ctx, s)
	}})
	defer p.Stop()
	p.send(message("Bob", "Dora"))
	<-time.After(2 * inbox.DefaultWriteTimeout)
	p.send(message("Bob", "Dora"))
	use(p)
}

// steps sets what is called at each step.
func (p *process) steps(at func(context.Context, inbox.Step) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = at
}

// send returns the position in the inbox of the first recipient.
func (p *process) send(d inbox.Draft) int64 {
	p.t.Helper()
	r, err := p.Append(p.t.Context(), d)
	require.NoError(p.t, err)
	return r.Entries[0].Position
}

// dies sends and is killed at a step.
func (p *process) dies(d inbox.Draft, at inbox.Step) {
	p.t.Helper()
	p.steps(func(_ context.Context, s inbox.Step) error {
		if s == at {
			return errDeath
		}
		return nil
	})
	_, err := p.Append(p.t.Context(), d)
	require.ErrorIs(p.t, err, errDeath)
	p.steps(nil)
}

// TestWhatIsPlacedWithoutTheSequencerLeavesNothingFreeBelow: who still has the sequencer would be given it.
func TestWhatIsPlacedWithoutTheSequencerLeavesNothingFreeBelow(t *testing.T) {
	onNodes(t, func(n *nodes) {
		n.start(func(cut *process) {
			n.start(func(other *process) {
				cut.seq.away.Store(true)
				cut.send(message("Alice"))
				n.store.took.Store(int64(50 * time.Millisecond))
				cut.steps(func(ctx context.Context, s inbox.Step) error {
					if s == inbox.StepPositions && ctx.Value(doomed{}) != nil {
						return errDeath
					}
					return nil
				})
				var acknowledged int64
				var all sync.WaitGroup
				for i, to := range []string{"Dora", "Bob", "Bob"} { // the last two take their positions together
					d, ctx := message(to), t.Context()
					d.Sender = to
					if i == 1 {
						ctx = context.WithValue(ctx, doomed{}, true)
					}
					all.Go(func() {
						if r, err := cut.Append(ctx, d); err == nil && i == 2 {
							acknowledged = r.Entries[0].Position
						}
					})
					synctest.Wait()
				}
				all.Wait()
				require.Positive(t, acknowledged)
				require.Greater(t, other.send(message("Bob")), acknowledged)
			})
		})
	})
}

// TestWhatWasOnItsWayWhenTheCountersWentBackIsNotPassed: its position was handed out by the counters of before.
func TestWhatWasOnItsWayWhenTheCountersWentBackIsNotPassed(t *testing.T) {
	onNodes(t, func(n *nodes) {
		n.start(func(one *process) {
			n.start(func(other *process) {
				older := memseq.New(100)
				require.NoError(t, older.Raise(t.Context(), map[string]int64{"bob": other.send(message("Bob"))}))
				for range 3 {
					one.dies(message("Bob"), inbox.StepPositions)
				}
				reached, goOn := make(chan struct{}), make(chan struct{})
				one.steps(func(_ context.Context, s inbox.Step) error {
					if s == inbox.StepPositions {
						close(reached)
						<-goOn
					}
					return nil
				})
				var onItsWay int64
				var all sync.WaitGroup
				all.Go(func() { onItsWay = one.send(message("Bob")) })
				<-reached
				one.steps(nil)
				for _, p := range []*process{one, other} {
					p.seq.Sequencer = older
					p.seq.incarnation.Add(1)
				}
				other.send(message("Bob"))
				<-time.After(time.Second)
				close(goOn)
				all.Wait()
				require.Greater(t, other.send(message("Bob")), onItsWay)
				<-time.After(time.Minute)
				require.Greater(t, other.send(message("Bob")), onItsWay)
			})
		})
	})
}

// TestARepeatThatFindsItsEntryLetsNobodyBelowIt: the entry stands where other counters, or none, had put it.
func TestARepeatThatFindsItsEntryLetsNobodyBelowIt(t *testing.T) {
	for what, away := range map[string]bool{"with the sequencer": false, "without the sequencer": true} {
		t.Run(what, func(t *testing.T) {
			onNodes(t, func(n *nodes) {
				n.start(func(one *process) {
					n.start(func(other *process) {
						n.start(func(third *process) {
							ahead := memseq.New(100)
							require.NoError(t, ahead.Raise(t.Context(), map[string]int64{"bob": 9, "alice": 9}))
							one.seq.Sequencer = ahead
							d := message("Bob")
							d.ClientMessageID = "c1"
							one.dies(d, inbox.StepEntries)

							other.seq.away.Store(away)
							acknowledged := other.send(d)
							repeat, err := other.Append(t.Context(), d)
							require.NoError(t, err)
							require.True(t, repeat.Duplicate)
							require.Equal(t, acknowledged, repeat.Entries[0].Position)
							require.Greater(t, third.send(message("Bob")), acknowledged)
						})
					})
				})
			})
		})
	}
}
