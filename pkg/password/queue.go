package password

import (
	"context"
	"time"
)

// queue bounds how many callers work at a time, how many wait, and for how long. It has no goroutine: callers do the work, first
// come, first served.
type queue struct {
	// places holds one token for each caller that works or waits, workers one for each that works.
	places, workers chan struct{}
	wait            time.Duration
}

func newQueue(workers, waiting int, wait time.Duration) *queue {
	return &queue{places: make(chan struct{}, workers+waiting), workers: make(chan struct{}, workers), wait: wait}
}

// enter waits for permission to work, which lasts until release is called. It returns ErrAtCapacity if too many wait or the wait is
// too long, or the context's error.
func (q *queue) enter(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err // nobody waits for the answer, even if a worker is free
	}
	select {
	case q.places <- struct{}{}:
	default:
		return nil, ErrAtCapacity
	}
	timer := time.NewTimer(q.wait)
	defer timer.Stop()
	select {
	case q.workers <- struct{}{}:
		return func() { <-q.workers; <-q.places }, nil
	case <-timer.C:
		err = ErrAtCapacity
	case <-ctx.Done():
		err = ctx.Err()
	}
	<-q.places
	return nil, err
}
