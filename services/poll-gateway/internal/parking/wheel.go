package parking

import (
	"sync"
	"time"
)

const (
	// tick is the resolution of deadlines: they fire up to a tick late, never early.
	tick = 100 * time.Millisecond
	// slots is the size of the wheel. A deadline further away than one turn stays for another turn.
	slots = 1024
)

// wheel is a hashed timer wheel (Varghese and Lauck, SOSP 1987, scheme 6): the cost of setting and clearing a deadline does not depend on
// their number.
type wheel struct {
	start time.Time
	// wake is called, with mu held, for the first deadline: the watcher may sleep without a timeout.
	wake func()

	mu    sync.Mutex
	slots [slots]*Spot
	// seen is the last tick that expired has handled.
	seen  int64
	count int
}

// timing is a Spot's place on the wheel. The wheel's lock guards it.
type timing struct {
	due        int64
	prev, next *Spot
	linked     bool
}

func (w *wheel) elapsed() int64 { return int64(time.Since(w.start) / tick) }

// set gives s a deadline, and replaces any that it has.
func (w *wheel) set(s *Spot, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(s)
	if w.count == 0 {
		w.seen = w.elapsed() // an empty wheel has missed nothing
	}
	due := time.Since(w.start) + d
	s.timing.due = max(int64((due+tick-1)/tick), w.seen+1)
	head := &w.slots[s.timing.due%slots]
	s.timing.next, s.timing.prev, s.timing.linked = *head, nil, true
	if *head != nil {
		(*head).timing.prev = s
	}
	*head = s
	if w.count++; w.count == 1 {
		w.wake()
	}
}

// clear removes the deadline of s.
func (w *wheel) clear(s *Spot) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(s)
}

// unlink removes s from the wheel, if it is there. w.mu is held.
func (w *wheel) unlink(s *Spot) {
	t := &s.timing
	if !t.linked {
		return
	}
	if t.prev != nil {
		t.prev.timing.next = t.next
	} else {
		w.slots[t.due%slots] = t.next
	}
	if t.next != nil {
		t.next.timing.prev = t.prev
	}
	*t = timing{}
	w.count--
}

// expired removes and returns the Spots whose deadline has passed.
func (w *wheel) expired() []*Spot {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.elapsed()
	var list []*Spot
	for t := max(w.seen+1, now-slots+1); t <= now; t++ {
		for s := w.slots[t%slots]; s != nil; {
			next := s.timing.next
			if s.timing.due <= now {
				w.unlink(s)
				list = append(list, s)
			}
			s = next
		}
	}
	w.seen = max(w.seen, now)
	return list
}

// has reports whether s has a deadline.
func (w *wheel) has(s *Spot) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return s.timing.linked
}
