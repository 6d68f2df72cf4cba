package gateway

import "fmt"

// mustHold panics if what holds of a mailbox between two calls does not. It runs in builds with the tag "assertions", which
// tests and simulations use. m.mu is held.
func (m *mailbox) mustHold() {
	if broken := m.broken(); broken != "" {
		panic(fmt.Sprintf("mailbox at head %d: %s", m.head, broken))
	}
}

// broken says which invariant does not hold, or nothing.
func (m *mailbox) broken() string {
	for i, e := range m.ring.events {
		if want := m.head - int64(len(m.ring.events)-1-i); e.Position != want {
			return fmt.Sprintf("the ring holds position %d where %d belongs", e.Position, want)
		}
	}
	bytes := 0
	for _, e := range m.ring.events {
		bytes += len(e.Object)
	}
	if bytes != m.ring.bytes {
		return fmt.Sprintf("the ring counts %d bytes and holds %d", m.ring.bytes, bytes)
	}
	if len(m.ring.events) > m.g.cfg.RingEvents || m.ring.bytes > m.g.cfg.RingBytes {
		return "the ring is above its bounds"
	}
	bytes = 0
	for position, e := range m.reorder.events {
		if position != e.Position || (m.head != unknown && position <= m.head) {
			return fmt.Sprintf("the reorder buffer holds position %d", position)
		}
		bytes += len(e.Object)
	}
	if bytes != m.reorder.bytes || bytes > m.g.cfg.RingBytes || len(m.reorder.events) > maxReordered {
		return fmt.Sprintf("the reorder buffer counts %d bytes and holds %d in %d events", m.reorder.bytes, bytes, len(m.reorder.events))
	}
	for i, p := range m.waiters.list {
		if p.index != i || p.position != m.head {
			return fmt.Sprintf("waiter %d says it is %d and stands at %d", i, p.index, p.position)
		}
	}
	return ""
}
