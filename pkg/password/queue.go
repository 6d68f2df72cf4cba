package password

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// queue bounds how many callers work at a time, how many wait, and for how long. It has no goroutine: callers do the work.
//
// Turns are fair in three steps. Between lanes they are weighted (stride scheduling; Waldspurger and Weihl, 1995). Within a lane the next is of
// the network that has had least lately, and within the network of the address that has had least: so somebody who comes seldom is served
// before those who keep coming, however many they are. When all places are taken, the lane that is furthest above its share loses a waiter:
// the newest of the network that holds and has had most.
type queue struct {
	mu           sync.Mutex
	free, places int
	wait         time.Duration
	waiting      int
	lanes        [lanes]*lane
	// pass is the pass of the lane that had the last turn.
	pass float64
}

// waiter is a caller that waits for its turn.
type waiter struct {
	lane             *lane
	network, address *record
	// turn gets nil when the waiter may work, and ErrAtCapacity when it gives way. It is sent once, under the queue's lock.
	turn chan error
}

func newQueue(workers, waiting int, wait time.Duration) *queue {
	q := &queue{free: workers, places: waiting, wait: wait}
	for i := range q.lanes {
		q.lanes[i] = newLane(weights[i])
	}
	return q
}

// enter waits for permission to work, which lasts until release is called. It returns ErrAtCapacity if too many wait or the wait is
// too long, or the context's error.
func (q *queue) enter(ctx context.Context, r Requester) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err // nobody waits for the answer, even if a worker is free
	}
	w := q.join(r)
	timer := time.NewTimer(q.wait)
	defer timer.Stop()
	select {
	case err = <-w.turn:
	case <-timer.C:
		err = q.leave(w, ErrAtCapacity)
	case <-ctx.Done():
		err = q.leave(w, ctx.Err())
	}
	if err != nil {
		return nil, err
	}
	return q.release, nil
}

// join adds a waiter, and makes room if there is none: it may be the one that gives way.
func (q *queue) join(r Requester) *waiter {
	q.mu.Lock()
	defer q.mu.Unlock()
	l := q.lanes[r.Lane]
	network, address := r.parties()
	w := &waiter{lane: l, network: l.networks.of(network), address: l.addresses.of(address), turn: make(chan error, 1)}
	now := time.Now()
	w.network.ask(now)
	w.address.ask(now)
	if len(l.waiters) == 0 {
		l.pass = max(l.pass, q.pass) // a lane that wanted nothing has saved nothing up
	}
	l.add(w)
	q.waiting++
	q.dispatch()
	if q.waiting > q.places {
		loser := q.fullest().heaviest(now)
		q.remove(loser)
		loser.turn <- ErrAtCapacity
	}
	return w
}

// leave takes out a waiter that waits no longer, for a reason that it returns. If its turn has come meanwhile, the next one gets it.
func (q *queue) leave(w *waiter, reason error) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case err := <-w.turn:
		if err == nil {
			q.free++
			q.dispatch()
		}
	default:
		q.remove(w)
	}
	return reason
}

func (q *queue) release() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free++
	q.dispatch()
}

// dispatch gives free workers to those whose turn it is.
func (q *queue) dispatch() {
	now := time.Now()
	for q.free > 0 && q.waiting > 0 {
		l := q.next()
		q.pass = l.pass
		l.pass += 1 / l.weight
		w := l.lightest(now)
		w.network.serve(now)
		w.address.serve(now)
		q.remove(w)
		q.free--
		w.turn <- nil
	}
}

func (q *queue) remove(w *waiter) {
	w.lane.remove(w)
	q.waiting--
}

// next returns the lane whose turn it is. Somebody waits.
func (q *queue) next() (found *lane) {
	for _, l := range q.lanes {
		if len(l.waiters) > 0 && (found == nil || l.pass < found.pass) {
			found = l
		}
	}
	return found
}

// fullest returns the lane that is furthest above its share of the places. Somebody waits.
func (q *queue) fullest() *lane {
	return slices.MaxFunc(q.lanes[:], func(a, b *lane) int {
		return cmp.Compare(float64(len(a.waiters))/a.weight, float64(len(b.waiters))/b.weight)
	})
}
