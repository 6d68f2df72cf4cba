package gateway

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
)

// TestAPollThatTheStoreTellsNothingWaitsAndDoesNotSpin: one device waits at the head. The reads for another device, which is below, end
// at its position. That poll was answered at once with a timeout, and its client polled again at once, for ever.
func TestAPollThatTheStoreTellsNothingWaitsAndDoesNotSpin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.fill(10)
		atHead := r.start(r.query(10, 10*time.Second))
		r.shelf.hide(5)
		reads, began := r.shelf.readCount(), time.Now()
		below := <-r.start(r.query(5, 10*time.Second))
		require.NoError(t, below.err)
		require.Empty(t, below.Objects)
		require.EqualValues(t, 5, below.Position)
		require.Equal(t, 10*time.Second, time.Since(began))
		require.Less(t, r.shelf.readCount()-reads, 40, "two polls, each a read a second at most")
		require.NoError(t, (<-atHead).err)
	})
}

func TestAPollThatMeetsAStaleReadIsGivenTheMessagesOnceTheyShow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.fill(10)
		r.start(r.query(10, time.Minute))
		r.shelf.hide(5)
		below := r.start(r.query(5, time.Minute))
		pass(3 * time.Second)
		require.Empty(t, below)
		r.shelf.hide(0)
		began := time.Now()
		require.Equal(t, []int64{6, 7, 8, 9, 10}, positions(t, (<-below).Answer))
		require.LessOrEqual(t, time.Since(began), lastRecheck)
	})
}

func TestAPollThatWaitsForTheStoreEndsWithItsTokenAndWithTheNode(t *testing.T) {
	for name, end := range map[string]func(r *rig, revoked *atomic.Bool){
		"revoked":  func(_ *rig, revoked *atomic.Bool) { revoked.Store(true) },
		"draining": func(r *rig, _ *atomic.Bool) { require.NoError(r.t, r.Drain(context.Background(), 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var revoked atomic.Bool
				r := newRig(t, func(c *Config) { c.Revoked = func(token.Identity) bool { return revoked.Load() } })
				r.fill(10)
				r.start(r.query(10, time.Minute))
				r.shelf.hide(5)
				below := r.start(r.query(5, time.Minute))
				end(r, &revoked)
				began := time.Now()
				got := <-below
				require.LessOrEqual(t, time.Since(began), lastRecheck)
				if name == "revoked" {
					require.ErrorIs(t, got.err, ErrRevoked)
				} else {
					require.True(t, got.Close)
				}
			})
		})
	}
}

// TestAPositionIsResetOnlyAfterRepeatedReads: one stale read made clients start over.
func TestAPositionIsResetOnlyAfterRepeatedReads(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.fill(10)
		r.shelf.hide(5)
		for _, wait := range []time.Duration{0, time.Minute} {
			poll := r.start(r.query(9, wait))
			pass(pastHeadTimeout / 2)
			require.Empty(t, poll)
			r.shelf.hide(0)
			require.Equal(t, []int64{10}, positions(t, (<-poll).Answer))

			reads, began := r.shelf.readCount(), time.Now()
			require.True(t, (<-r.start(r.query(11, wait))).Reset)
			require.Equal(t, pastHeadTimeout, time.Since(began))
			require.Less(t, r.shelf.readCount()-reads, 10)
			r.shelf.hide(5)
		}
	})
}

// TestASessionsPlaceIsNeverReset: only a new epoch resets it.
func TestASessionsPlaceIsNeverReset(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.fill(10)
		r.shelf.hide(5)
		q := r.query(9, time.Minute)
		q.KeepsPlace = true
		got := <-r.start(q)
		require.ErrorIs(t, got.err, store.ErrUnavailable)
		require.False(t, got.Reset)
	})
}

func TestOneStaleReadResetsNobodyWhoWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.fill(10)
		poll := r.start(r.query(10, time.Hour))
		pass(5 * time.Second)
		r.shelf.hide(5)
		r.Disrupted()
		pass(staleTimeout / 2)
		require.Empty(t, poll)
		r.shelf.hide(0)
		r.send()
		require.Equal(t, []int64{11}, positions(t, (<-poll).Answer))
	})
}

// TestAHeadThatIsTooHighIsGivenUp, even while polls keep the mailbox warm: the log was set back without a new epoch.
func TestAHeadThatIsTooHighIsGivenUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.fill(10)
		poll := r.start(r.query(10, time.Hour))
		r.shelf.mu.Lock()
		r.shelf.entries, r.shelf.visible = r.shelf.entries[:3], 3
		r.shelf.mu.Unlock()
		began := time.Now()
		require.ErrorIs(t, (<-poll).err, ErrStale)
		require.Less(t, time.Since(began), r.cfg.VerifyEvery*6/5+2*staleTimeout)
		again := r.start(r.query(3, time.Minute))
		r.send()
		require.Equal(t, []int64{4}, positions(t, (<-again).Answer))
	})
}

func TestANewEpochResetsWhoWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var epoch atomic.Value
		epoch.Store("e1")
		epochs := NewEpochs(func(context.Context) (string, error) { return epoch.Load().(string), nil })
		r := newRig(t, func(c *Config) { c.Epochs = epochs })
		r.fill(10)
		_, err := epochs.Current(t.Context())
		require.NoError(t, err)
		poll := r.start(r.query(10, time.Hour))
		pass(2 * time.Second)
		r.shelf.mu.Lock()
		r.shelf.entries, r.shelf.visible = r.shelf.entries[:3], 3
		r.shelf.mu.Unlock()
		epoch.Store("e2")
		known, err := epochs.Is(t.Context(), "e2")
		require.NoError(t, err)
		require.True(t, known)
		synctest.Wait()
		require.True(t, (<-poll).Reset)
		again := r.start(r.query(3, time.Minute))
		r.send()
		require.Equal(t, []int64{4}, positions(t, (<-again).Answer))
	})
}

// TestTwoReadsThatDoNotAgreeDoNotSpin: the store reports more and returns nothing.
func TestTwoReadsThatDoNotAgreeDoNotSpin(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.shelf.more = true
		reads := r.shelf.readCount()
		got := <-r.start(r.query(0, 10*time.Second))
		require.NoError(t, got.err)
		require.Less(t, r.shelf.readCount()-reads, 20)

		r.shelf.more = false
		poll := r.start(r.query(0, time.Minute))
		r.shelf.more = true
		r.Disrupted()
		reads = r.shelf.readCount()
		pass(10 * time.Second)
		require.Less(t, r.shelf.readCount()-reads, 20)
		r.shelf.more = false
		r.send()
		require.Equal(t, []int64{1}, positions(t, (<-poll).Answer))
	})
}

// TestShortPollsAreGivenWhatNobodyTellsOf: a client that polls without waiting, or waits only a moment, was told for two minutes that
// there was nothing, because no poll waited when a read was due.
func TestShortPollsAreGivenWhatNobodyTellsOf(t *testing.T) {
	for name, unseen := range map[string]func(r *rig){
		"an undecided position": func(r *rig) { r.shelf.addUndecided(store.Received) },
		"a gap": func(r *rig) {
			r.shelf.add(store.Received)
			r.publish(r.shelf.add(store.Received))
			pass(gapTimeout)
		},
		"a lost event": func(r *rig) {
			r.shelf.add(store.Received)
			pass(r.cfg.VerifyEvery)
		},
	} {
		for _, wait := range []time.Duration{0, gapTimeout / 2} {
			t.Run(fmt.Sprint(name, ", wait ", wait), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					r := newRig(t)
					require.Empty(t, (<-r.start(r.query(0, wait))).Objects)
					unseen(r)
					if name == "an undecided position" { // somebody has seen it and sends a hint
						r.Hinted([]string{"bob"})
						require.Empty(t, (<-r.start(r.query(0, wait))).Objects)
						pass(2 * lastRecheck)
						r.shelf.decide()
					}
					require.EqualValues(t, 1, positions(t, (<-r.start(r.query(0, wait))).Answer)[0])
				})
			})
		}
	}
}

// TestSendsThatOverlapCostNoReads: the events of overlapping sends come in any order, and reads of the store find undecided positions.
// Each new waiter made a read then: thirteen queries a send, and half the sends a second.
func TestSendsThatOverlapCostNoReads(t *testing.T) {
	t.Run("events out of order", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			r := newRig(t)
			require.Empty(t, (<-r.start(r.query(0, 0))).Objects)
			after, reads := int64(0), r.shelf.readCount()
			for range 20 {
				first, second := r.shelf.addUndecided(store.Received), r.shelf.addUndecided(store.Received)
				r.publish(second)
				poll := r.start(r.query(after, time.Minute))
				r.shelf.decide()
				r.publish(first)
				require.Equal(t, []int64{after + 1, after + 2}, positions(t, (<-poll).Answer))
				after += 2
			}
			require.Equal(t, reads, r.shelf.readCount())
		})
	})
	t.Run("something is always undecided", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			r := newRig(t)
			require.Empty(t, (<-r.start(r.query(0, 0))).Objects)
			item, next := r.shelf.addUndecided(store.Received), r.shelf.addUndecided(store.Received)
			r.publish(next)
			poll := r.start(r.query(0, time.Minute))
			pass(gapTimeout + time.Millisecond) // the store is read, and the read ends before the first position
			reads := r.shelf.readCount()
			r.shelf.decide()
			r.publish(item)
			require.Equal(t, []int64{1, 2}, positions(t, (<-poll).Answer))
			for after := int64(2); after < 20; after++ {
				item = r.shelf.addUndecided(store.Received)
				poll = r.start(r.query(after, time.Minute))
				pass(firstRecheck / 2)
				r.shelf.decide()
				r.publish(item)
				require.Equal(t, []int64{after + 1}, positions(t, (<-poll).Answer))
			}
			require.Equal(t, reads, r.shelf.readCount())
		})
	})
}

// TestWhatAHintToldOfIsReadThoughTheHeadMovesOn: the read for a hint ends before an undecided position, whose event then comes. No event
// tells of the positions beyond it.
func TestWhatAHintToldOfIsReadThoughTheHeadMovesOn(t *testing.T) {
	for name, waits := range map[string]bool{"while somebody waits": true, "for the next poll": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				r := newRig(t)
				require.Empty(t, (<-r.start(r.query(0, 2*firstVerify))).Objects)
				own := r.shelf.addUndecided(store.Sent)
				r.shelf.addUndecided(store.Received)
				r.Hinted([]string{"bob"})
				var poll <-chan result
				if waits {
					poll = r.start(r.query(0, time.Minute))
				} else {
					require.Empty(t, (<-r.start(r.query(0, 0))).Objects)
				}
				r.shelf.decide()
				r.publish(own)
				began := time.Now()
				if !waits {
					pass(lastRecheck)
					poll = r.start(r.query(1, time.Minute))
				}
				require.Equal(t, []int64{2}, positions(t, (<-poll).Answer))
				require.LessOrEqual(t, time.Since(began), 2*time.Second)
			})
		})
	}
}

// TestWhatAHintToldOfWhileAPollReadIsRead: the hint made the poll read a second time, and the poll does not wait yet when the mailbox is
// checked.
func TestWhatAHintToldOfWhileAPollReadIsRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		own := r.shelf.addUndecided(store.Sent)
		r.shelf.addUndecided(store.Received)
		var hint sync.Once
		r.shelf.during = func() {
			<-time.After(firstRecheck / 5)
			hint.Do(func() { r.Hinted([]string{"bob"}) })
		}
		poll := r.start(r.query(0, time.Minute))
		pass(firstRecheck*6/5 + time.Millisecond)
		r.shelf.decide()
		r.publish(own)
		began := time.Now()
		require.Equal(t, []int64{2}, positions(t, (<-poll).Answer))
		require.LessOrEqual(t, time.Since(began), 2*time.Second)
	})
}

// TestAReadThatFailedIsMadeForTheNextWhoWaits: while the store was unavailable, polls came and went, and the read for a gap failed. The
// next waiter waited until the next verification.
func TestAReadThatFailedIsMadeForTheNextWhoWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		require.Empty(t, (<-r.start(r.query(0, 2*firstVerify))).Objects)
		r.shelf.add(store.Received)
		poll := r.start(r.query(0, gapTimeout+time.Millisecond))
		r.shelf.fail = store.ErrUnavailable
		r.send()
		require.Empty(t, (<-poll).Objects)
		pass(2 * r.cfg.AwayEvery)
		r.shelf.fail = nil
		began := time.Now()
		require.Equal(t, []int64{1, 2}, positions(t, (<-r.start(r.query(0, time.Minute))).Answer))
		require.LessOrEqual(t, time.Since(began), time.Second)
	})
}
