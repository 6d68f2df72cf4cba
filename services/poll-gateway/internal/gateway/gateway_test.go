package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shelf is an inbox that a test fills. Position p is at index p-1.
type shelf struct {
	mu      sync.Mutex
	entries []inbox.Item
	// visible is the end of the decided positions. Those beyond are undecided.
	visible int64
	reads   int
	fail    error
	// short makes messages expire after a second.
	short bool
	// hidden is how many of the last positions reads do not show, as a replica that is behind would.
	hidden int64
	// more makes reads report more and return nothing.
	more bool
	// during is called while a read is under way.
	during func()
}

func (s *shelf) lifetime() time.Duration {
	if s.short {
		return time.Second
	}
	return time.Hour
}

func (s *shelf) add(kind store.EntryKind) inbox.Item {
	item := s.addUndecided(kind)
	s.mu.Lock()
	s.visible = int64(len(s.entries))
	s.mu.Unlock()
	return item
}

func (s *shelf) addUndecided(kind store.EntryKind) inbox.Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	position := int64(len(s.entries) + 1)
	item := inbox.Item{
		Entry:   store.Entry{User: "bob", Position: position, Kind: kind, Message: store.MessageID{byte(position), byte(position >> 8)}, ExpiresAt: time.Now().Add(s.lifetime())},
		Message: store.Message{ID: store.MessageID{byte(position), byte(position >> 8)}, Sender: "Alice", Recipients: []string{"Bob"}, CreatedAt: time.Now()},
	}
	s.entries = append(s.entries, item)
	return item
}

func (s *shelf) decide() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.visible = int64(len(s.entries))
}

func (s *shelf) Read(_ context.Context, _ string, after int64, limit int) (inbox.Batch, error) {
	if s.during != nil {
		s.during()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	b := inbox.Batch{Next: after, More: s.more}
	switch {
	case s.more:
		return b, nil
	case s.fail != nil:
		return b, s.fail
	case after > int64(len(s.entries))-s.hidden:
		b.PastHead = true
		return b, nil
	}
	visible := min(s.visible, int64(len(s.entries))-s.hidden)
	for _, item := range s.entries[min(after, visible):visible] {
		if item.Entry.Kind != store.Received {
			b.Skipped = append(b.Skipped, item.Entry.Position)
		} else {
			if len(b.Items) == limit {
				b.More = true
				return b, nil
			}
			b.Items = append(b.Items, item)
		}
		b.Next = item.Entry.Position
	}
	b.Blocked = s.visible < int64(len(s.entries))
	return b, nil
}

func (s *shelf) Receipts(context.Context, store.Message) ([]store.ReadReceipt, error) {
	return nil, nil
}

func (s *shelf) Head(context.Context, string) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(len(s.entries)), nil
}

func (s *shelf) hide(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hidden = n
}

func (s *shelf) readCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

// wire is a bus that a test controls.
type wire struct {
	mu         sync.Mutex
	away       bool
	subscribed map[string]int
}

func (w *wire) Subscribe(_ context.Context, user string) (bus.Subscription, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.subscribed[user]++
	if w.away {
		return subscription{w, user}, bus.ErrDisconnected
	}
	return subscription{w, user}, nil
}

func (w *wire) Connected() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.away
}

func (w *wire) set(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
}

func (w *wire) count(user string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.subscribed[user]
}

type subscription struct {
	wire *wire
	user string
}

func (s subscription) Unsubscribe() error {
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	s.wire.subscribed[s.user]--
	return nil
}

// rig is a gateway between a shelf and a wire.
type rig struct {
	*Gateway
	t     *testing.T
	shelf *shelf
	wire  *wire
}

// oneEpoch is a log that is never restored.
func oneEpoch() *Epochs { return NewEpochs(func(context.Context) (string, error) { return "e1", nil }) }

func newRig(t *testing.T, change ...func(*Config)) *rig {
	cfg := Config{
		MaxPolls: 100, MaxPollsPerUser: 50, RingEvents: 4, RingBytes: 1 << 20, AllRingBytes: 1 << 26, VerifyEvery: time.Minute,
		AwayEvery: 1500 * time.Millisecond, Linger: time.Minute, StoreReads: 4,
		Revoked: func(token.Identity) bool { return false },
		Epochs:  oneEpoch(),
	}
	for _, f := range change {
		f(&cfg)
	}
	r := &rig{t: t, shelf: &shelf{}, wire: &wire{subscribed: map[string]int{}}}
	r.Gateway = New(cfg, r.shelf, slog.New(slog.DiscardHandler), NewMetrics(nil))
	r.Attach(r.wire)
	t.Cleanup(r.Stop)
	return r
}

func (r *rig) publish(item inbox.Item) {
	event := delivery.For(item)
	r.Receive("bob", event.Encode(), nil)
}

// send puts a message into the inbox and publishes it.
func (r *rig) send() { r.publish(r.shelf.add(store.Received)) }

func bob() token.Identity {
	return token.Identity{Username: "Bob", Subject: "bob", SessionID: "s", TokenID: "t", ExpiresAt: time.Now().Add(time.Hour)}
}

func (r *rig) query(after int64, wait time.Duration) Query {
	return Query{Caller: bob(), After: after, Limit: 100, Wait: wait}
}

type result struct {
	Answer
	err error
}

// start begins a poll and returns when it waits.
func (r *rig) start(q Query) <-chan result {
	done := make(chan result, 1)
	go func() {
		a, err := r.Poll(context.Background(), q)
		done <- result{a, err}
	}()
	synctest.Wait()
	return done
}

func positions(t *testing.T, a Answer) []int64 {
	var list []int64
	for _, o := range a.Objects {
		var m api.Message
		require.NoError(t, json.Unmarshal(o.JSON.AppendTo(nil), &m))
		require.Equal(t, o.Position, m.Seq)
		list = append(list, m.Seq)
	}
	return list
}

// pass lets the bubble's time pass.
func pass(d time.Duration) { <-time.After(d) }

// bubble runs a test in a synctest bubble.
func bubble(t *testing.T, test func(t *testing.T)) { synctest.Test(t, test) }

func TestAWaitingPollIsCompletedByAnEventWithoutAReadOfTheStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, time.Minute))
		reads := r.shelf.readCount()
		r.send()
		got := <-poll
		require.NoError(t, got.err)
		require.Equal(t, []int64{1}, positions(t, got.Answer))
		require.EqualValues(t, 1, got.Position)
		require.Equal(t, reads, r.shelf.readCount())
		require.Equal(t, 1.0, testutil.ToFloat64(r.metrics.completions.WithLabelValues("event")))
	})
}

func TestAColdPollReadsTheStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.shelf.add(store.Received)
		r.shelf.add(store.Received)
		got := <-r.start(r.query(0, 0))
		require.Equal(t, []int64{1, 2}, positions(t, got.Answer))
	})
}

func TestAPollShortlyBehindIsServedFromTheRing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		first := r.start(r.query(0, time.Minute))
		r.send()
		<-first
		r.send()
		r.send()
		reads := r.shelf.readCount()
		got := <-r.start(r.query(1, time.Minute))
		require.Equal(t, []int64{2, 3}, positions(t, got.Answer))
		require.Equal(t, reads, r.shelf.readCount())
	})
}

func TestAMessageInTheRingIsNotShownAfterItHasExpired(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.shelf.short = true
		first := r.start(r.query(0, time.Minute))
		r.send()
		require.Equal(t, []int64{1}, positions(t, (<-first).Answer))
		pass(2 * time.Second)
		got := <-r.start(r.query(0, time.Second))
		require.NoError(t, got.err)
		require.Empty(t, got.Objects)
		require.Equal(t, []int64{1}, got.Skipped)
		require.EqualValues(t, 1, got.Position)
	})
}

func TestEventsInTheWrongOrderAreDeliveredInTheRightOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, time.Minute))
		one, two := r.shelf.add(store.Received), r.shelf.add(store.Received)
		r.publish(two)
		r.publish(one)
		got := <-poll
		require.Equal(t, []int64{1, 2}, positions(t, got.Answer))
	})
}

func TestASingleLostEventCostsAtMostTheVerificationInterval(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, 10*time.Minute))
		pass(90 * time.Second)
		began := time.Now()
		r.shelf.add(store.Received)
		got := <-poll
		require.Equal(t, []int64{1}, positions(t, got.Answer))
		require.LessOrEqual(t, time.Since(began), 72*time.Second)
		require.Equal(t, 1.0, testutil.ToFloat64(r.metrics.recovered))
	})
}

// TestAnEventOfAVersionThatIsNotKnownMakesTheStoreBeRead: gateways of two versions may run side by side.
func TestAnEventOfAVersionThatIsNotKnownMakesTheStoreBeRead(t *testing.T) {
	for _, payload := range []string{"2 7 1700000000000 m\n{}", "M 1 2 3\n{}", "m 1 2 3 4\n{}", "\x00\x01", ""} {
		bubble(t, func(t *testing.T) {
			r := newRig(t)
			poll := r.start(r.query(0, 10*time.Minute))
			pass(5 * time.Second)
			r.shelf.add(store.Received)
			began := time.Now()
			r.Receive("bob", []byte(payload), nil)
			got := <-poll
			require.Equal(t, []int64{1}, positions(t, got.Answer))
			require.Less(t, time.Since(began), 100*time.Millisecond)

			r.shelf.add(store.Received)
			r.Receive("bob", []byte(payload), nil) // while nobody waits
			again, err := r.Poll(t.Context(), r.query(1, 0))
			require.NoError(t, err)
			require.Equal(t, []int64{2}, positions(t, again))
			r.Receive("stranger", []byte(payload), nil)
			require.Equal(t, 3.0, testutil.ToFloat64(r.metrics.malformed))
		})
	}
}

func TestAfterADisruptionTheStoreIsReadSoon(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, 10*time.Minute))
		pass(5 * time.Second)
		r.shelf.add(store.Received)
		began := time.Now()
		r.Disrupted()
		got := <-poll
		require.Equal(t, []int64{1}, positions(t, got.Answer))
		require.LessOrEqual(t, time.Since(began), 1500*time.Millisecond)
	})
}

func TestWithTheBusAwayMessagesComeWithinTwoSeconds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, 10*time.Minute))
		r.wire.set(true)
		r.Disrupted()
		pass(10 * time.Second)
		r.shelf.add(store.Received)
		began := time.Now()
		got := <-poll
		require.Equal(t, []int64{1}, positions(t, got.Answer))
		require.LessOrEqual(t, time.Since(began), 2*time.Second)
	})
}

// TestPollsThatDoNotWaitLearnOfWhatComesWhileTheBusIsAway: nobody waits when the mailbox is checked, and no event comes. Such polls were
// answered from memory for a minute.
func TestPollsThatDoNotWaitLearnOfWhatComesWhileTheBusIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.wire.set(true)
		r.Disrupted()
		require.Empty(t, (<-r.start(r.query(0, 0))).Objects)
		r.shelf.add(store.Received)
		pass(r.cfg.AwayEvery)
		reads := r.shelf.readCount()
		require.Equal(t, []int64{1}, positions(t, (<-r.start(r.query(0, 0))).Answer))
		require.Empty(t, (<-r.start(r.query(1, 0))).Objects)
		require.Empty(t, (<-r.start(r.query(1, 0))).Objects)
		require.LessOrEqual(t, r.shelf.readCount(), reads+2, "once each time that it is due")
	})
}

func TestOwnSendsDoNotCompleteAPollAndAreToldAsSkipped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, time.Minute))
		r.publish(r.shelf.add(store.Sent))
		synctest.Wait()
		require.Empty(t, poll)
		r.send()
		got := <-poll
		require.Equal(t, []int64{2}, positions(t, got.Answer))
		require.Equal(t, []int64{1}, got.Skipped)

		r.publish(r.shelf.add(store.Sent))
		late := <-r.start(r.query(2, time.Second))
		require.NoError(t, late.err)
		require.Empty(t, late.Objects)
		require.Equal(t, []int64{3}, late.Skipped)
		require.EqualValues(t, 3, late.Position)
	})
}

func TestALargeMessageIsFetchedFromTheStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, time.Minute))
		item := r.shelf.add(store.Received)
		r.Receive("bob", delivery.Event{Position: item.Entry.Position, Kind: delivery.Reference, AcceptedAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}.Encode(), nil)
		got := <-poll
		require.Equal(t, []int64{1}, positions(t, got.Answer))
	})
}

func TestAnUndecidedPositionIsLookedAtUntilItIsDecided(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.shelf.addUndecided(store.Received)
		poll := r.start(r.query(0, time.Minute))
		pass(3 * time.Second)
		require.Empty(t, poll)
		r.shelf.decide()
		began := time.Now()
		got := <-poll
		require.Equal(t, []int64{1}, positions(t, got.Answer))
		require.LessOrEqual(t, time.Since(began), time.Second)
	})
}

func TestAPositionPastTheHeadIsAReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		got := <-r.start(r.query(7, time.Minute))
		require.NoError(t, got.err)
		require.True(t, got.Reset)
	})
}

func TestAPollAheadOfThisNodeDoesNotMakeOthersMissAnything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		behind := r.start(r.query(0, time.Minute))
		r.shelf.add(store.Received) // another node has given it to a client already; here the event is lost
		ahead := r.start(r.query(1, time.Minute))
		got := <-behind
		require.Equal(t, []int64{1}, positions(t, got.Answer))
		r.send()
		got = <-ahead
		require.Equal(t, []int64{2}, positions(t, got.Answer))
	})
}

func TestATimeoutHasTheCursorItWasAskedWith(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		began := time.Now()
		got := <-r.start(r.query(0, 25*time.Second))
		require.NoError(t, got.err)
		require.Equal(t, 25*time.Second, time.Since(began))
		require.Equal(t, Answer{}, got.Answer)
	})
}

func TestTheLimitIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		for range 5 {
			r.send()
		}
		q := r.query(0, 0)
		q.Limit = 2
		for _, want := range [][]int64{{1, 2}, {3, 4}, {5}} {
			got := <-r.start(q)
			require.Equal(t, want, positions(t, got.Answer))
			q.After = got.Position
		}
	})
}

func TestFromHeadSkipsWhatIsThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.send()
		poll := r.start(r.query(FromHead, time.Minute))
		r.send()
		got := <-poll
		require.Equal(t, []int64{2}, positions(t, got.Answer))
	})
}

func TestARevokedTokensPollIsAnsweredAndOthersAreNot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		revoked := r.start(r.query(0, time.Minute))
		q := r.query(0, time.Minute)
		q.Caller.TokenID = "other"
		kept := r.start(q)
		r.Revoked(revocation.Record{TokenID: "t", Subject: "bob"})
		require.ErrorIs(t, (<-revoked).err, ErrRevoked)
		require.Empty(t, kept)
		r.Revoked(revocation.Record{Subject: "bob", MinGeneration: 1})
		require.ErrorIs(t, (<-kept).err, ErrRevoked)
	})
}

func TestATokenRevokedJustBeforeParkingDoesNotWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Revoked = func(token.Identity) bool { return true } })
		require.ErrorIs(t, (<-r.start(r.query(0, time.Minute))).err, ErrRevoked)
	})
}

func TestPollsAboveTheCapacityAreRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxPolls = 2 })
		first, second := r.start(r.query(0, time.Minute)), r.start(r.query(0, time.Minute))
		require.ErrorIs(t, (<-r.start(r.query(0, time.Minute))).err, ErrAtCapacity)
		require.EqualValues(t, 2, r.Open())
		// A poll that comes just before a place becomes free gets it.
		late := r.start(r.query(5, time.Minute))
		pass(admissionWait / 2)
		require.Empty(t, late)
		r.send()
		require.True(t, (<-late).Reset, "it is answered, not refused")
		<-first
		<-second
		synctest.Wait()
		require.Zero(t, r.Open())
	})
}

func TestOneUserCannotTakeAllTheRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxPollsPerUser = 1 })
		r.start(r.query(0, time.Minute))
		require.ErrorIs(t, (<-r.start(r.query(0, time.Minute))).err, ErrTooManyPolls)
	})
}

// logged are the messages of log lines.
type logged struct {
	slog.Handler
	lines chan string
}

// Enabled implements slog.Handler.
func (logged) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (l logged) Handle(_ context.Context, r slog.Record) error {
	l.lines <- r.Message
	return nil
}

func TestAStoreThatIsAwayIsAnErrorForAColdPollAndADelayForAWaitingOne(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		lines := make(chan string, 100)
		r.log = slog.New(logged{slog.DiscardHandler, lines})
		poll := r.start(r.query(0, 10*time.Minute))
		r.shelf.mu.Lock()
		r.shelf.fail = store.ErrUnavailable
		r.shelf.mu.Unlock()
		require.ErrorIs(t, (<-r.start(r.query(5, time.Minute))).err, store.ErrUnavailable)
		r.shelf.add(store.Received)
		r.Disrupted()
		pass(5 * time.Second)
		require.Empty(t, poll)
		r.shelf.mu.Lock()
		r.shelf.fail = nil
		r.shelf.mu.Unlock()
		got := <-poll
		require.Equal(t, []int64{1}, positions(t, got.Answer))
		require.Len(t, lines, 2, "the log is told once that it fails, however often it does, and once that it does no more")
		require.Contains(t, <-lines, "fails reads")
		require.Contains(t, <-lines, "answers again")
	})
}

func TestDrainAnswersAllSpreadOverTheTimeAndRefusesNewOnes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		var polls []<-chan result
		for range 10 {
			polls = append(polls, r.start(r.query(0, time.Hour)))
		}
		began := time.Now()
		require.NoError(t, r.Drain(context.Background(), 10*time.Second))
		require.Equal(t, 10*time.Second, time.Since(began))
		for _, p := range polls {
			got := <-p
			require.NoError(t, got.err)
			require.True(t, got.Close)
			require.Empty(t, got.Objects)
		}
		require.ErrorIs(t, (<-r.start(r.query(0, time.Hour))).err, ErrDraining)
	})
}

func TestAClientThatGoesAwayLeavesNothingBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			_, err := r.Poll(ctx, r.query(0, time.Hour))
			done <- err
		}()
		synctest.Wait()
		require.Equal(t, 1, r.wire.count("bob"))
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		require.Zero(t, r.Open())
		pass(2 * time.Minute)
		synctest.Wait()
		require.Zero(t, r.wire.count("bob"))
		require.Nil(t, r.find("bob"))
	})
}

func TestReadersMissNothingWhileEventsAreLostDelayedAndReordered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		const messages, readers = 400, 5
		var all sync.WaitGroup
		for range readers {
			all.Go(func() {
				next := int64(0)
				for next < messages {
					got, err := r.Poll(context.Background(), r.query(next, 10*time.Second))
					if errors.Is(err, store.ErrUnavailable) {
						continue
					}
					require.NoError(t, err)
					seen := map[int64]bool{}
					for _, p := range append(positions(t, got), got.Skipped...) {
						require.False(t, seen[p], "position %d twice in one answer", p)
						seen[p] = true
					}
					for p := next + 1; p <= got.Position; p++ {
						require.True(t, seen[p], "position %d skipped over", p)
					}
					require.Len(t, seen, int(got.Position-next))
					next = got.Position
				}
			})
		}
		all.Go(func() {
			var held []inbox.Item
			for range messages {
				kind := store.Received
				if rand.N(10) == 0 {
					kind = store.Sent
				}
				held = append(held, r.shelf.add(kind))
				if rand.N(3) == 0 {
					rand.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
					for _, item := range held {
						if rand.N(5) > 0 {
							r.publish(item)
						}
					}
					held = nil
				}
				if rand.N(50) == 0 {
					r.Disrupted()
				}
				pass(rand.N(30 * time.Millisecond))
			}
		})
		all.Wait()
	})
}
