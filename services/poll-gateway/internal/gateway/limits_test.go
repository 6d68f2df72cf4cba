package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/token"
)

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

// TestAUsersFirstPollFindsRoom: a handful of users who hold all they may must not keep everybody out.
func TestAUsersFirstPollFindsRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxPolls = 3 })
		oldest := r.start(r.query(0, time.Minute))
		pass(time.Second)
		streaming, told := r.resuming(0)
		r.start(r.query(0, time.Minute))
		first := r.query(0, time.Minute)
		first.Caller.Subject = "carol"
		waits := r.start(first)
		require.ErrorIs(t, (<-oldest).err, ErrAtCapacity)
		require.Empty(t, waits)
		require.EqualValues(t, 3, r.Open())
		require.ErrorIs(t, (<-r.start(first)).err, ErrAtCapacity, "her second would leave bob with less")

		// What has an answer under way ends when it would wait again.
		r.send()
		require.Len(t, told.one(t).Objects, 1)
		again := r.start(r.query(1, time.Minute))
		first.Caller.Subject, first.After = "dave", 1
		r.start(first)
		synctest.Wait()
		require.Empty(t, again)
		streaming.Resume(1, time.Minute)
		require.ErrorIs(t, told.one(t).err, ErrAtCapacity)
		streaming.Leave()
		require.EqualValues(t, 3, r.Open())
	})
}

// TestAUsersFirstPollWaitsForRoom longer than another, which must not take the last places to wait either.
func TestAUsersFirstPollWaitsForRoom(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxPolls = 1 })
		only := r.start(r.query(0, 2*firstPollWait))
		for range patients {
			r.start(r.query(0, time.Minute))
		}
		first := r.query(FromHead, 0)
		first.Caller.Subject = "carol"
		waits := r.start(first)
		pass(firstPollWait - time.Second)
		require.Empty(t, waits)
		r.send()
		require.Len(t, (<-only).Objects, 1)
		require.NoError(t, (<-waits).err)
	})
}

// TestAPollAboveAUsersLimitPushesOutTheOldest: those whose network has died must not keep their user out.
func TestAPollAboveAUsersLimitPushesOutTheOldest(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.MaxPollsPerUser = 2 })
		oldest := r.start(r.query(0, time.Minute))
		pass(time.Second)
		second := r.start(r.query(0, time.Minute))
		pass(time.Second)
		third := r.start(r.query(0, time.Minute))
		require.ErrorIs(t, (<-oldest).err, ErrTooManyPolls)
		synctest.Wait()
		require.EqualValues(t, 2, r.Open())
		r.send()
		require.Len(t, (<-second).Objects, 1)
		require.Len(t, (<-third).Objects, 1)
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
