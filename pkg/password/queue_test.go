package password

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// enter logs, in order, what happens to callers that enter in the background.
func enter(ctx context.Context, q *queue, name string, log chan<- string) (release func()) {
	leave := make(chan struct{})
	go func() {
		done, err := q.enter(ctx, Requester{})
		if err != nil {
			log <- name + ": " + err.Error()
			return
		}
		log <- name + " works"
		<-leave
		done()
	}()
	synctest.Wait()
	return func() { close(leave); synctest.Wait() }
}

func TestCallersWorkInTheOrderTheyCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, log := newQueue(1, 2, time.Minute), make(chan string, 10)
		first := enter(t.Context(), q, "first", log)
		second := enter(t.Context(), q, "second", log)
		third := enter(t.Context(), q, "third", log)
		require.Equal(t, "first works", <-log)
		require.Empty(t, log, "one at a time")
		first()
		require.Equal(t, "second works", <-log)
		require.Empty(t, log)
		second()
		require.Equal(t, "third works", <-log)
		third()
	})
}

func TestAFullQueueTurnsCallersAwayAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, log := newQueue(1, 1, time.Minute), make(chan string, 10)
		first := enter(t.Context(), q, "first", log)
		second := enter(t.Context(), q, "second", log)
		require.Equal(t, "first works", <-log)
		_, err := q.enter(t.Context(), Requester{})
		require.ErrorIs(t, err, ErrAtCapacity)

		first()
		third := enter(t.Context(), q, "third", log)
		require.Equal(t, "second works", <-log, "its place was free again")
		second()
		third()
		require.Equal(t, "third works", <-log)
	})
}

func TestNobodyWaitsLongerThanTheSetting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, log := newQueue(1, 1, time.Minute), make(chan string, 10)
		first := enter(t.Context(), q, "first", log)
		require.Equal(t, "first works", <-log)
		began := time.Now()
		_, err := q.enter(t.Context(), Requester{})
		require.ErrorIs(t, err, ErrAtCapacity)
		require.Equal(t, time.Minute, time.Since(began))

		second := enter(t.Context(), q, "second", log)
		first()
		require.Equal(t, "second works", <-log, "who gave up holds no place")
		second()
	})
}

func TestACallerWhoseContextEndsLeavesTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, log := newQueue(1, 1, time.Minute), make(chan string, 10)
		first := enter(t.Context(), q, "first", log)
		require.Equal(t, "first works", <-log)
		ctx, cancel := context.WithCancel(t.Context())
		enter(ctx, q, "second", log)
		cancel()
		require.Equal(t, "second: context canceled", <-log)
		third := enter(t.Context(), q, "third", log)
		first()
		require.Equal(t, "third works", <-log, "who left holds no place")
		third()
	})
}
