package gateway

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
)

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

// TestFromHeadReadsOnlyWhatTheMailboxDoesNotKnow: what strangers have sent in the last minutes must not make each poll slower.
func TestFromHeadReadsOnlyWhatTheMailboxDoesNotKnow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.send()
		poll := r.start(r.query(FromHead, time.Minute))
		require.Zero(t, r.shelf.headFrom)
		r.send()
		<-poll
		poll = r.start(r.query(FromHead, time.Minute))
		require.EqualValues(t, 2, r.shelf.headFrom)
		r.send()
		require.NoError(t, (<-poll).err)
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
		require.Contains(t, <-lines, "reads of the message store for waiting polls fail")
		require.Contains(t, <-lines, "answers again")
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
