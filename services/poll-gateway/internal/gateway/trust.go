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
	// unseen: a read that was to find what events may not have told of ended before an undecided position. What stands beyond that is
	// still to be read, wherever the head has come by then.
	unseen bool
	// doubts counts the events of this user that were lost, or could not be read.
	doubts atomic.Int64
}

// disruptions counts the times that events of this user may have been lost.
func (m *mailbox) disruptions() int64 { return m.g.disruption.Load() + m.trust.doubts.Load() }

// confirm notes that the store was read at a disruption count and held nothing that is decided beyond the head. m.mu is held.
func (m *mailbox) confirm(disruption int64) {
	m.trust.confirmed, m.trust.at = disruption, m.g.alarms.now()
	m.resync.contradicted = 0
}

// endedBefore notes that a read of the store ended before an undecided position, and has it read again after d: if the head does not
// move, or in any case while something may be beyond that no event tells of. m.mu is held.
func (m *mailbox) endedBefore(d time.Duration) {
	if m.trust.unseen = m.trust.unseen || !m.trusted(); m.trust.unseen {
		m.checkSoon(d)
		return
	}
	m.recheckIn(d)
}

// trusted reports whether the head can be relied on. m.mu is held.
func (m *mailbox) trusted() bool {
	return m.head != unknown && m.trust.confirmed == m.disruptions() && m.g.alarms.now()-m.trust.at < 2*m.g.cfg.VerifyEvery
}
