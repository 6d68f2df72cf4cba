package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
)

// outcomes is an Observer that keeps its outcomes.
type outcomes chan result

func (o outcomes) Completed(a Answer, err error) { o <- result{a, err} }

// one expects exactly one outcome, now.
func (o outcomes) one(t *testing.T) result {
	t.Helper()
	synctest.Wait()
	require.Len(t, o, 1)
	return <-o
}

// resuming begins a poll that may resume, and that waits.
func (r *rig) resuming(after int64) (*Parked, outcomes) {
	q := r.query(after, time.Minute)
	q.Resumes = true
	_, p, err := r.Start(r.t.Context(), q)
	require.NoError(r.t, err)
	require.NotNil(r.t, p)
	told := make(outcomes, 10)
	p.Watch(told)
	return p, told
}

func TestAPollThatGoesOnIsGivenWhatHasComeMeanwhileAndThenWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		p, told := r.resuming(0)
		r.send()
		require.Equal(t, []int64{1}, positions(t, told.one(t).Answer))
		r.send()
		r.send()
		require.Empty(t, told, "it does not wait")
		reads := r.shelf.readCount()
		p.Resume(1, time.Minute)
		require.Len(t, told, 1, "at once")
		require.Equal(t, []int64{2, 3}, positions(t, told.one(t).Answer), "from the ring")
		p.Resume(3, time.Minute)
		synctest.Wait()
		require.Empty(t, told)
		r.send()
		require.Equal(t, []int64{4}, positions(t, told.one(t).Answer), "on arrival")
		require.Equal(t, reads, r.shelf.readCount())
		for range 9 { // more than the ring holds
			r.send()
		}
		p.Resume(4, time.Minute)
		require.Equal(t, []int64{5, 6, 7, 8, 9, 10, 11, 12, 13}, positions(t, told.one(t).Answer), "from the store")
		p.Resume(13, time.Minute)
		require.True(t, p.Expire())
		require.Equal(t, Answer{Position: 13}, told.one(t).Answer)
		require.False(t, p.Expire())
		p.Leave()
		require.Zero(t, r.Open())
	})
}

// TestAPollKeepsItsPlaceWhileItsAnswerIsWritten: a new poll does not displace a stream that has just been given an event.
func TestAPollKeepsItsPlaceWhileItsAnswerIsWritten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxPollsPerUser = 1 })
		p, told := r.resuming(0)
		r.send()
		told.one(t)
		_, other, err := r.Start(t.Context(), r.query(1, time.Minute))
		require.Nil(t, other)
		require.ErrorIs(t, err, ErrTooManyPolls)
		p.Resume(1, time.Minute)
		require.True(t, p.Expire())
		told.one(t)
		p.Leave()
		_, other, err = r.Start(t.Context(), r.query(1, time.Minute))
		require.NoError(t, err)
		require.True(t, other.Withdraw())
		other.Leave()
		require.Zero(t, r.Open())
	})
}

func TestAPollThatGoesOnOnANodeThatDrainsOrHasStoppedIsToldToGo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		p, told := r.resuming(0)
		r.send()
		told.one(t)
		require.NoError(t, r.Drain(t.Context(), 0))
		for range 2 {
			p.Resume(1, time.Minute)
			require.Len(t, told, 1, "at once")
			require.Equal(t, Answer{Position: 1, Close: true}, told.one(t).Answer)
			r.Stop()
			r.Disrupted() // only a read of the store could answer, and none may start any more
		}
		p.Leave()
	})
}

func TestATokenThatWasRevokedBetweenTwoWaitsIsFoundOut(t *testing.T) {
	bubble(t, func(t *testing.T) {
		revoked := false
		r := newRig(t, func(c *Config) {
			c.Revoked = func(id token.Identity) bool { return revoked && id.Subject == "bob" && id.TokenID == "t" }
		})
		p, told := r.resuming(0)
		r.send()
		told.one(t)
		revoked = true
		p.Resume(1, time.Minute)
		require.ErrorIs(t, told.one(t).err, ErrRevoked)
		p.Leave()
	})
}

func TestAPollWhoseClientGoesWhileTheStoreIsReadHasAnOutcome(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.StoreReads = 1 })
		p, told := r.resuming(0)
		r.send()
		told.one(t)
		r.Disrupted() // from here on only the store can answer
		done, err := r.reads.Take(t.Context(), admission.Holder{User: "another"})
		require.NoError(t, err)
		p.Resume(1, time.Minute)
		synctest.Wait()
		require.False(t, p.Expire(), "it does not wait yet")
		require.False(t, p.Withdraw())
		require.Empty(t, told)
		done()
		require.ErrorIs(t, told.one(t).err, context.Canceled)
		p.Leave()
		require.Zero(t, r.Open())
	})
}

func TestAStoreThatIsAwayEndsAPollThatHasToReadIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		p, told := r.resuming(0)
		r.send()
		told.one(t)
		r.Disrupted()
		r.shelf.mu.Lock()
		r.shelf.fail = store.ErrUnavailable
		r.shelf.mu.Unlock()
		p.Resume(1, time.Minute)
		require.ErrorIs(t, told.one(t).err, store.ErrUnavailable)
		p.Leave()
	})
}

// TestOneTextIsMadeForAllWhoAreGivenTheSame, and polls with different answers share none.
func TestOneTextIsMadeForAllWhoAreGivenTheSame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		leaves, _ := r.resuming(0)
		first, told := r.resuming(0)
		r.publish(r.shelf.add(store.Sent)) // an empty position, which both pass
		synctest.Wait()
		all := []outcomes{told}
		waiters := []*Parked{leaves, first}
		for range 3 {
			p, told := r.resuming(1)
			all, waiters = append(all, told), append(waiters, p)
		}
		require.True(t, leaves.Withdraw()) // the last one moves to its index: the first to wait is not the first to be completed
		r.send()
		answers := make([]Answer, len(all))
		for i, told := range all {
			answers[i] = told.one(t).Answer
			require.Equal(t, []int64{2}, positions(t, answers[i]))
		}
		require.Equal(t, []int64{1}, answers[0].Skipped)
		require.Nil(t, answers[0].Shared)
		made := map[string]int{}
		for _, a := range answers[1:] {
			require.Empty(t, a.Skipped)
			for form, text := range map[Form]string{PollForm: "poll", StreamForm: "stream"} {
				require.Equal(t, text, string(a.Shared.Text(form, "e1", func() []byte {
					made[text]++
					return []byte(text)
				})))
			}
			require.Equal(t, "other", string(a.Shared.Text(PollForm, "e2", func() []byte { return []byte("other") })), "of another epoch")
		}
		require.Equal(t, map[string]int{"poll": 1, "stream": 1}, made)
		for _, p := range waiters {
			p.Leave()
		}
	})
}
