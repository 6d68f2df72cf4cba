package inbox_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/memseq"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// doomed marks the context of a send that is to die.
type doomed struct{}

var errDeath = errors.New("killed here")

// nodes are processes with one store and one sequencer; each reaches the sequencer in its own way.
type nodes struct {
	t     *testing.T
	store *slow
	seq   *memseq.Sequencer
}

// process is one node. If at is set, it is called at each step of its sends.
type process struct {
	*inbox.Writer
	t   *testing.T
	seq *unsteady
	mu  sync.Mutex
	at  func(context.Context, inbox.Step) error
}

// onNodes runs a test in virtual time.
func onNodes(t *testing.T, test func(*testing.T, *nodes)) {
	synctest.Test(t, func(t *testing.T) {
		s, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
		require.NoError(t, err)
		defer func() { require.NoError(t, s.Close()) }()
		test(t, &nodes{t: t, store: slowly(s, time.Millisecond), seq: memseq.New(100)})
	})
}

// start starts a process and waits until it trusts the counters of Alice, Bob and Dora.
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
	pass(2 * inbox.DefaultWriteTimeout)
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

// dies sends and dies at a step.
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

// TestWhatIsPlacedWithoutTheSequencerLeavesNothingFreeBelow: a node that still has the sequencer would take it.
func TestWhatIsPlacedWithoutTheSequencerLeavesNothingFreeBelow(t *testing.T) {
	onNodes(t, func(t *testing.T, n *nodes) {
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
				for i, to := range []string{"Dora", "Bob", "Bob"} { // the last two are placed together
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

// TestWhatWasOnItsWayWhenTheCountersWentBackIsNotPassed: the old counters handed out its position.
func TestWhatWasOnItsWayWhenTheCountersWentBackIsNotPassed(t *testing.T) {
	onNodes(t, func(t *testing.T, n *nodes) {
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
				pass(time.Second)
				close(goOn)
				all.Wait()
				require.Greater(t, other.send(message("Bob")), onItsWay)
				pass(time.Minute)
				require.Greater(t, other.send(message("Bob")), onItsWay)
			})
		})
	})
}

// TestARepeatThatFindsItsEntryLetsNobodyBelowIt: the entry is where other counters, or none, had put it.
func TestARepeatThatFindsItsEntryLetsNobodyBelowIt(t *testing.T) {
	for what, away := range map[string]bool{"with the sequencer": false, "without the sequencer": true} {
		t.Run(what, func(t *testing.T) {
			onNodes(t, func(t *testing.T, n *nodes) {
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

// TestCountersThatGoBackWhileTheyAreAskedAreNotBelieved: the change shows only after their answer.
func TestCountersThatGoBackWhileTheyAreAskedAreNotBelieved(t *testing.T) {
	onNodes(t, func(t *testing.T, n *nodes) {
		n.start(func(p *process) {
			older := memseq.New(100)
			require.NoError(t, older.Raise(t.Context(), map[string]int64{"bob": p.send(message("Bob")), "alice": 100}))
			for range 3 {
				p.dies(message("Bob"), inbox.StepPositions)
			}
			acknowledged := p.send(message("Bob"))
			p.seq.onNext = func() {
				p.seq.Sequencer = older
				p.seq.incarnation.Add(1)
			}
			require.Greater(t, p.send(message("Bob")), acknowledged)
		})
	})
}

// contiguous requires that an inbox has an entry at each position up to upTo.
func (n *nodes) contiguous(user string, upTo int64) {
	n.t.Helper()
	entries, err := n.store.Entries(n.t.Context(), user, 0, upTo)
	require.NoError(n.t, err)
	require.Len(n.t, entries, int(upTo))
}

// TestWithoutTheSequencerWhatIsMissingShortlyBelowTheTailIsClosed: before a send is acknowledged above it.
func TestWithoutTheSequencerWhatIsMissingShortlyBelowTheTailIsClosed(t *testing.T) {
	onNodes(t, func(t *testing.T, n *nodes) {
		n.start(func(cut *process) {
			n.start(func(other *process) {
				now := time.Now()
				_, err := n.store.InsertEntries(t.Context(), []store.Entry{{ // of a process that died during its bulk insert
					User: "bob", Position: 8, Kind: store.Received, Message: store.NewMessageID(now), At: now, ExpiresAt: now.Add(time.Hour), PurgeAt: now.Add(time.Hour),
				}})
				require.NoError(t, err)
				cut.seq.away.Store(true)
				acknowledged := cut.send(message("Bob"))
				require.EqualValues(t, 9, acknowledged)
				n.contiguous("bob", acknowledged)
				require.Greater(t, other.send(message("Bob")), acknowledged)
			})
		})
	})
}

// TestWithoutTheSequencerARepeatLeavesNothingFreeBelowOthers: below sends that were placed together with it, by a node that does not know it
// for a repeat.
func TestWithoutTheSequencerARepeatLeavesNothingFreeBelowOthers(t *testing.T) {
	onNodes(t, func(t *testing.T, n *nodes) {
		n.start(func(other *process) {
			n.start(func(p *process) {
				var repeats [2]inbox.Draft
				var firsts [2]int64
				for i := range repeats {
					repeats[i] = message("Bob")
					repeats[i].ClientMessageID = fmt.Sprint("c", i)
					firsts[i] = other.send(repeats[i])
				}
				p.seq.away.Store(true)
				p.send(message("Dora"))
				n.store.took.Store(int64(50 * time.Millisecond))
				var last atomic.Int64
				var all sync.WaitGroup
				for i, d := range []inbox.Draft{message("Bob"), repeats[0], message("Bob"), repeats[1]} { // the first holds up the others, which go on together
					all.Go(func() {
						r, err := p.Append(t.Context(), d)
						require.NoError(t, err)
						require.Equal(t, i%2 == 1, r.Duplicate)
						if i%2 == 1 {
							require.Equal(t, firsts[i/2], r.Entries[0].Position)
							return
						}
						if i > 0 {
							last.Store(r.Entries[0].Position)
						}
					})
					synctest.Wait()
				}
				all.Wait()
				require.Equal(t, firsts[1]+3, last.Load(), "above the repeat's")
				n.contiguous("bob", last.Load())
			})
		})
	})
}

// TestASendThatLosesTheSequencerHalfWayIsPlacedNevertheless: it uses the positions it has by then.
func TestASendThatLosesTheSequencerHalfWayIsPlacedNevertheless(t *testing.T) {
	onNodes(t, func(t *testing.T, n *nodes) {
		n.start(func(p *process) {
			n.store.took.Store(int64(50 * time.Millisecond))
			var all sync.WaitGroup
			all.Go(func() {
				r, err := p.Append(t.Context(), message("Bob", "Carol"))
				require.NoError(t, err)
				require.Equal(t, []int64{3, 1, 3}, []int64{r.Entries[0].Position, r.Entries[1].Position, r.Entries[2].Position})
			})
			synctest.Wait() // Bob's position is taken, and Carol's tail is being read
			p.seq.away.Store(true)
			all.Wait()
			n.contiguous("carol", 1)
		})
	})
}
