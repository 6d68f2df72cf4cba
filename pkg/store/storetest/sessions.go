package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

var sessionTests = []test{
	{"a new session starts where the account's furthest stood at its opening", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob", "Carol")
		expires := now().Add(time.Hour)
		require.NoError(t, s.OpenSession(t.Context(), "bob", "one", expires))
		requireCursor(t, s, "bob", "one", 0)
		require.NoError(t, s.AdvanceSession(t.Context(), "bob", "one", "e1", 7))
		require.NoError(t, s.OpenSession(t.Context(), "BOB", "two", expires))
		require.NoError(t, s.AdvanceSession(t.Context(), "bob", "one", "e1", 9))
		requireCursor(t, s, "bob", "one", 9)
		requireCursor(t, s, "bob", "two", 7)
		requireCursor(t, s, "bob", "never opened", 9)
		requireCursor(t, s, "carol", "one", 0)
	}},
	{"a session has begun in an epoch once it is recorded, in no other, and no other session has", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob", "Carol")
		begun := func(user, session, epoch string) bool {
			begun, err := s.BegunEpoch(t.Context(), user, session, epoch)
			require.NoError(t, err)
			return begun
		}
		require.NoError(t, s.OpenSession(t.Context(), "bob", "one", now().Add(time.Hour)))
		require.False(t, begun("bob", "one", "r1"))
		together(writers, func(int) { require.NoError(t, s.BeginEpoch(t.Context(), "bob", "one", "r1", now().Add(time.Hour))) })
		require.True(t, begun("BOB", "one", "r1"))
		for _, other := range [][3]string{{"bob", "one", "r2"}, {"bob", "two", "r1"}, {"carol", "one", "r1"}} {
			require.False(t, begun(other[0], other[1], other[2]), "%v", other)
		}
		requireCursor(t, s, "bob", "one", 0)
	}},
	{"a session's cursor never goes back, whoever advances it in whatever order", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		require.NoError(t, s.OpenSession(t.Context(), "bob", "one", now().Add(time.Hour)))
		together(writers, func(i int) { require.NoError(t, s.AdvanceSession(t.Context(), "bob", "one", "e1", int64(i+1))) })
		requireCursor(t, s, "bob", "one", writers)
		require.NoError(t, s.AdvanceSession(t.Context(), "bob", "one", "e1", 3))
		requireCursor(t, s, "bob", "one", writers)
	}},
	{"a reset to another epoch moves a session and the account back, and withdraws what was offered", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		require.NoError(t, s.OpenSession(t.Context(), "bob", "one", now().Add(time.Hour)))
		require.NoError(t, s.AdvanceSession(t.Context(), "bob", "one", "e1", 9))
		ok, err := s.OfferSession(t.Context(), "bob", "one", store.SessionCursor{Epoch: "e1", Position: 9}, 10)
		require.NoError(t, err)
		require.True(t, ok)
		require.NoError(t, s.ResetSession(t.Context(), "bob", "one", "e2", 2))
		requireState(t, s, "one", store.SessionCursor{Epoch: "e2", Position: 2, Offers: 1})
		requireState(t, s, "other", store.SessionCursor{Epoch: "e2", Position: 2})
	}},
	{"of many who reset a session to one epoch, none undoes what was delivered in between", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		require.NoError(t, s.OpenSession(t.Context(), "bob", "one", now().Add(time.Hour)))
		require.NoError(t, s.AdvanceSession(t.Context(), "bob", "one", "e1", 1000))
		together(writers, func(i int) {
			require.NoError(t, s.ResetSession(t.Context(), "bob", "one", "e2", 0))
			require.NoError(t, s.AdvanceSession(t.Context(), "bob", "one", "e2", int64(i+1)))
		})
		requireState(t, s, "one", store.SessionCursor{Epoch: "e2", Position: writers})
		requireState(t, s, "other", store.SessionCursor{Epoch: "e2", Position: writers})
	}},
	{"a position of another epoch is replaced by an advance, and one without an epoch is of any", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		require.NoError(t, s.OpenSession(t.Context(), "bob", "one", now().Add(time.Hour)))
		move := func(do func(context.Context, string, string, string, int64) error, epoch string, position, want int64) {
			t.Helper()
			require.NoError(t, do(t.Context(), "bob", "one", epoch, position))
			requireState(t, s, "one", store.SessionCursor{Epoch: epoch, Position: want})
			requireState(t, s, "other", store.SessionCursor{Epoch: epoch, Position: want})
		}
		move(s.AdvanceSession, "", 7, 7)
		move(s.AdvanceSession, "e1", 5, 7)
		move(s.AdvanceSession, "e1", 8, 8)
		move(s.AdvanceSession, "e2", 3, 3)
		require.NoError(t, s.OpenSession(t.Context(), "bob", "two", now().Add(time.Hour)))
		requireState(t, s, "two", store.SessionCursor{Epoch: "e2", Position: 3})
		move(s.ResetSession, "e3", 1, 1)
		move(s.AdvanceSession, "", 6, 6)
		move(s.ResetSession, "e4", 2, 2) // a cursor without an epoch may be of one that is gone
	}},
	{"an offer is made only to a cursor of the epoch that was seen", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		require.NoError(t, s.OpenSession(t.Context(), "bob", "one", now().Add(time.Hour)))
		require.NoError(t, s.AdvanceSession(t.Context(), "bob", "one", "e1", 4))
		for _, c := range []struct {
			epoch string
			ok    bool
		}{{"e2", false}, {"", false}, {"e1", true}} {
			ok, err := s.OfferSession(t.Context(), "bob", "one", store.SessionCursor{Epoch: c.epoch, Position: 4}, 5)
			require.NoError(t, err)
			require.Equal(t, c.ok, ok, c.epoch)
		}
	}},
	{"an offer stands until it is withdrawn or the cursor passes it, and only one is made", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		require.NoError(t, s.OpenSession(t.Context(), "bob", "one", now().Add(time.Hour)))
		made := atomic.Int64{}
		together(writers, func(i int) {
			ok, err := s.OfferSession(t.Context(), "bob", "one", store.SessionCursor{}, int64(i+1))
			require.NoError(t, err)
			if ok {
				made.Add(1)
			}
		})
		require.EqualValues(t, 1, made.Load())
		standing, err := s.SessionCursor(t.Context(), "bob", "one")
		require.NoError(t, err)
		require.Positive(t, standing.Offered)
		require.NoError(t, s.WithdrawOffer(t.Context(), "bob", "one", standing)) // an offer that was not made
		requireState(t, s, "one", standing)
		require.NoError(t, s.WithdrawOffer(t.Context(), "bob", "one", store.SessionCursor{}))
		requireState(t, s, "one", store.SessionCursor{Offers: 1})

		offer := func(seen store.SessionCursor, position int64, want bool) {
			t.Helper()
			ok, err := s.OfferSession(t.Context(), "bob", "one", seen, position)
			require.NoError(t, err)
			require.Equal(t, want, ok)
		}
		offer(store.SessionCursor{Offers: 1}, 3, true)
		offer(store.SessionCursor{Offers: 1}, 4, false)
		offer(store.SessionCursor{Offered: 3, Offers: 2}, 3, true)  // the offer of a dead node gives way
		offer(store.SessionCursor{Offered: 3, Offers: 2}, 3, false) // only once, although nothing else has changed
		offer(store.SessionCursor{Offered: 3, Offers: 3}, 4, true)
		require.NoError(t, s.WithdrawOffer(t.Context(), "bob", "one", store.SessionCursor{Offered: 3, Offers: 2})) // by a node taken for dead
		require.NoError(t, s.AdvanceSession(t.Context(), "bob", "one", "e1", 4))
		requireState(t, s, "one", store.SessionCursor{Epoch: "e1", Position: 4, Offered: 4, Offers: 4})
		offer(store.SessionCursor{Epoch: "e1", Position: 4, Offered: 4, Offers: 4}, 5, true)
		ok, err := s.OfferSession(t.Context(), "bob", "never opened", store.SessionCursor{Position: 4}, 5)
		require.NoError(t, err)
		require.True(t, ok)
	}},
	{"each event leads a session's cursor where the table says", eachSessionEvent},
	{"opening a session again changes nothing", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		require.NoError(t, s.OpenSession(t.Context(), "bob", "one", now().Add(time.Hour)))
		require.NoError(t, s.AdvanceSession(t.Context(), "bob", "two", "e1", 5))
		require.NoError(t, s.OpenSession(t.Context(), "bob", "one", now().Add(time.Hour)))
		requireCursor(t, s, "bob", "one", 0)
	}},
	{"cursors survive a restart, and the furthest survives its sessions", func(t *testing.T, a Adapter) {
		s := open(t, a, "Bob")
		require.NoError(t, s.OpenSession(t.Context(), "bob", "one", now().Add(-time.Hour)))
		require.NoError(t, s.AdvanceSession(t.Context(), "bob", "one", "e1", 5))
		s = a.Reopen(t, s)
		requireCursor(t, s, "bob", "one", 5)
		require.NoError(t, a.Purge(t.Context(), s, now()))
		requireCursor(t, s, "bob", "one", 5)
	}},
}

func requireCursor(t *testing.T, s store.Store, user, session string, want int64) {
	t.Helper()
	got, err := s.SessionCursor(t.Context(), user, session)
	require.NoError(t, err)
	require.Equal(t, want, got.Position)
}

func requireState(t *testing.T, s store.Store, session string, want store.SessionCursor) {
	t.Helper()
	got, err := s.SessionCursor(t.Context(), "bob", session)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// sessionEvents is the life of a session's cursor. It is free, or an offer stands: an answer up to Offered is being written, or was when its
// node died. The cursor of each row begins at position 4 of epoch e1; an offer is for position 5. before is what was seen before that offer.
var sessionEvents = []struct {
	offered bool
	event   string
	do      func(ctx context.Context, s store.Sessions, before, seen store.SessionCursor) (done bool, err error)
	done    bool
	// The state, epoch and position that follow.
	then     bool
	epoch    string
	position int64
}{
	{false, "a poll offers", offerNext, true, true, "e1", 4},
	{false, "a poll offers to what stood there earlier", offerEarlier, false, false, "e1", 4},
	{false, "an offer that is gone is withdrawn", withdrawOffer, true, false, "e1", 4},
	{false, "the answer was written", advanceTo(5, "e1"), true, false, "e1", 5},
	{false, "an earlier answer was written", advanceTo(3, "e1"), true, false, "e1", 4},
	{false, "the epoch has changed", resetTo("e2"), true, false, "e2", 0},
	{true, "a poll offers, and takes the first offer's node for dead", offerNext, true, true, "e1", 4},
	{true, "a poll offers to what stood there before the offer", offerEarlier, false, true, "e1", 4},
	{true, "the answer could not be written", withdrawOffer, true, false, "e1", 4},
	{true, "the answer was written", advanceTo(5, "e1"), true, false, "e1", 5},
	{true, "an earlier answer was written", advanceTo(3, "e1"), true, true, "e1", 4},
	{true, "the epoch has changed", resetTo("e2"), true, false, "e2", 0},
}

func offerNext(ctx context.Context, s store.Sessions, _, seen store.SessionCursor) (bool, error) {
	return s.OfferSession(ctx, "bob", "one", seen, 5)
}

func offerEarlier(ctx context.Context, s store.Sessions, before, _ store.SessionCursor) (bool, error) {
	return s.OfferSession(ctx, "bob", "one", before, 5)
}

func withdrawOffer(ctx context.Context, s store.Sessions, before, _ store.SessionCursor) (bool, error) {
	return true, s.WithdrawOffer(ctx, "bob", "one", before)
}

func advanceTo(position int64, epoch string) func(context.Context, store.Sessions, store.SessionCursor, store.SessionCursor) (bool, error) {
	return func(ctx context.Context, s store.Sessions, _, _ store.SessionCursor) (bool, error) {
		return true, s.AdvanceSession(ctx, "bob", "one", epoch, position)
	}
}

func resetTo(epoch string) func(context.Context, store.Sessions, store.SessionCursor, store.SessionCursor) (bool, error) {
	return func(ctx context.Context, s store.Sessions, _, _ store.SessionCursor) (bool, error) {
		return true, s.ResetSession(ctx, "bob", "one", epoch, 0)
	}
}

// eachSessionEvent lets every event of the table happen in its state.
func eachSessionEvent(t *testing.T, a Adapter) {
	for _, row := range sessionEvents {
		t.Run(fmt.Sprintf("offered %t, %s", row.offered, row.event), func(t *testing.T) {
			s := open(t, a, "Bob")
			require.NoError(t, s.OpenSession(t.Context(), "bob", "one", now().Add(time.Hour)))
			require.NoError(t, s.AdvanceSession(t.Context(), "bob", "one", "e1", 4))
			// An offer that was made and withdrawn: so there is an earlier cursor to be told from the present one.
			before := cursorOf(t, s)
			ok, err := s.OfferSession(t.Context(), "bob", "one", before, 5)
			require.NoError(t, err)
			require.True(t, ok)
			if !row.offered {
				require.NoError(t, s.WithdrawOffer(t.Context(), "bob", "one", before))
			}
			done, err := row.do(t.Context(), s, before, cursorOf(t, s))
			require.NoError(t, err)
			require.Equal(t, row.done, done)
			after := cursorOf(t, s)
			require.Equal(t, row.then, after.Offered > after.Position, "whether an offer stands: %+v", after)
			require.Equal(t, row.epoch, after.Epoch)
			require.Equal(t, row.position, after.Position)
		})
	}
}

func cursorOf(t *testing.T, s store.Sessions) store.SessionCursor {
	t.Helper()
	c, err := s.SessionCursor(t.Context(), "bob", "one")
	require.NoError(t, err)
	return c
}
