package gateway

import (
	"sync/atomic"
	"time"
)

// never is a disruption count that is never reached.
const never = -1

// trust says whether a mailbox can rely on its head without reading the store: the store has confirmed it, recently enough, and no event
// may have been lost since.
type trust struct {
	// confirmed is the disruption count at which the store last confirmed the head, and at the time.
	confirmed int64
	at        time.Duration
	// unseen: a read that should find lost events ended before an undecided position. What follows that position must still be read, even if
	// the head has passed it by then.
	unseen bool
	// lostEvents counts the events of this user that were lost or could not be read.
	lostEvents atomic.Int64
}

// disruptions counts how often events of this user may have been lost.
func (m *mailbox) disruptions() int64 { return m.g.disruption.Load() + m.trust.lostEvents.Load() }

// confirm notes that a read of the store, begun at a disruption count, found nothing decided beyond the head. m.mu is held.
func (m *mailbox) confirm(disruption int64) {
	m.trust.confirmed, m.trust.at = disruption, m.g.alarms.now()
	m.resync.staleSince = 0
}

// readWasBlocked notes that a read of the store ended before an undecided position, and schedules another after d. That one is dropped if
// the head moves, unless events beyond that position may have been lost. m.mu is held.
func (m *mailbox) readWasBlocked(d time.Duration) {
	if m.trust.unseen = m.trust.unseen || !m.trusted(); m.trust.unseen {
		m.checkInLocked(d)
		return
	}
	m.recheckIn(d)
}

// trusted reports whether the head can be relied on. m.mu is held.
func (m *mailbox) trusted() bool {
	return m.head != unknown && m.trust.confirmed == m.disruptions() && m.g.alarms.now()-m.trust.at < 2*m.g.cfg.VerifyEvery
}
