package gateway

import (
	"cmp"
	"fmt"
)

// mustHold panics if an invariant of the mailbox is broken. It runs in builds with the tag "assertions", which simulations use, and under
// the race detector. m.mu is held.
func (m *mailbox) mustHold() {
	cfg := &m.g.cfg
	if broken := cmp.Or(m.ring.broken(m.head, cfg), m.reorder.broken(m.head, cfg), m.waiters.broken(m.head)); broken != "" {
		panic(fmt.Sprintf("mailbox at head %d: %s", m.head, broken))
	}
}

// broken names a broken invariant: the events are contiguous, end at the head, and are counted and within their limits.
func (r *ring) broken(head int64, cfg *Config) string {
	bytes := 0
	for i, e := range r.events {
		if want := head - int64(len(r.events)-1-i); e.Position != want {
			return fmt.Sprintf("the ring holds position %d where %d belongs", e.Position, want)
		}
		bytes += e.Object.Len()
	}
	if bytes != r.bytes || len(r.events) > cfg.RingEvents || bytes > cfg.RingBytes {
		return fmt.Sprintf("the ring counts %d bytes and holds %d in %d events", r.bytes, bytes, len(r.events))
	}
	return ""
}

// broken names a broken invariant: all events are beyond the head, and are counted and within their limits.
func (r *reorder) broken(head int64, cfg *Config) string {
	bytes := 0
	for position, e := range r.events {
		if position != e.Position || (head != unknown && position <= head) {
			return fmt.Sprintf("the reorder buffer holds position %d", position)
		}
		bytes += e.Object.Len()
	}
	if bytes != r.bytes || bytes > cfg.RingBytes || len(r.events) > maxReordered {
		return fmt.Sprintf("the reorder buffer counts %d bytes and holds %d in %d events", r.bytes, bytes, len(r.events))
	}
	return ""
}

// broken names a broken invariant: all waiters stand at the head, and their indexes are right.
func (w *waiters) broken(head int64) string {
	for i, p := range w.list {
		if int(p.index) != i || p.position != head || p.between {
			return fmt.Sprintf("waiter %d says it is %d and stands at %d", i, p.index, p.position)
		}
	}
	return ""
}
