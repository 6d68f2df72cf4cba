package gateway

import (
	"sync/atomic"
	"time"
)

// never is a disruption count, and a time, that is never reached.
const never = -1

// trust says whether what a mailbox knows can be relied on without reading the store: the store has confirmed it, not
// too long ago, and no event may have been lost since.
type trust struct {
	// confirmed is the disruption count at which the store last confirmed the head, and at when.
	confirmed int64
	at        time.Duration
	// blocked: the last read of the store ended before a position that was not decided.
	blocked bool
	// doubts counts the events of this user that were lost, or could not be read.
	doubts atomic.Int64
}

// disruptions counts the times that events of this user may have been lost.
func (m *mailbox) disruptions() int64 { return m.g.disruption.Load() + m.trust.doubts.Load() }

// confirm notes that the store was read at a disruption count and held nothing that is decided beyond the head. m.mu is held.
func (m *mailbox) confirm(disruption int64, blocked bool) {
	m.trust.confirmed, m.trust.at, m.trust.blocked = disruption, m.g.alarms.now(), blocked
	m.resync.contradicted = 0
}

// trusted reports whether the head can be relied on. m.mu is held.
func (m *mailbox) trusted() bool {
	return m.head != unknown && m.trust.confirmed == m.disruptions() && m.g.alarms.now()-m.trust.at < 2*m.g.cfg.VerifyEvery
}

// uncertain reports whether a read of the store may bring something that no event is going to tell of: what stands beyond
// the head is not decided, has not been told of, or the last read is long ago. Who waits is given it by a resync; who does
// not wait has to read. m.mu is held.
func (m *mailbox) uncertain() bool {
	return m.trust.blocked || !m.reorder.empty() || m.g.alarms.now()-m.trust.at >= m.g.cfg.VerifyEvery
}
