package gateway

import (
	"math"
	"time"

	"github.com/sealpost/sealpost/pkg/delivery"
)

// gapTimeout is how long the head may wait for a missing event before the store is read. Overlapping sends often end out of order; under
// load they end a group commit apart. The read is for an event that is lost without notice from the bus. That is rare: its sender died
// between commit and publication.
const gapTimeout = 200 * time.Millisecond

// notDue is a time that never comes.
const notDue = time.Duration(math.MaxInt64)

// schedule is when a mailbox has work to do.
type schedule struct {
	// check is when check runs next, whatever happens before; 0 for never.
	check time.Duration
	// readDue: a read failed or was stale, or was due while nobody waited. The next waiter triggers it.
	readDue bool
	// gap is for a missing event, undecided for a position that the last read of the store found undecided.
	gap, undecided stall
}

// stall is when to read the store if the head is still the same. Reading at once would be waste: under load there is always an event
// beyond the head, and the missing one nearly always comes.
type stall struct {
	head int64
	due  time.Duration
}

func noStall() stall { return stall{head: unknown, due: notDue} }

// over reports whether the head has stood for too long.
func (s stall) over(head int64, now time.Duration) bool { return s.head == head && s.due <= now }

// checkIn makes check run no later than after d.
func (m *mailbox) checkIn(d time.Duration) {
	m.lock()
	defer m.unlock()
	m.checkInLocked(d)
}

// checkInLocked is checkIn with m.mu held.
func (m *mailbox) checkInLocked(d time.Duration) {
	due := m.g.alarms.now() + d
	if m.schedule.check == 0 || due < m.schedule.check {
		m.schedule.check = due
	}
	m.wakeAt(m.schedule.check)
}

// wakeAt makes wake run no later than at due. m.mu is held.
func (m *mailbox) wakeAt(due time.Duration) {
	if !m.closed {
		m.g.alarms.set(m, due)
	}
}

// wake does what is due.
func (m *mailbox) wake() {
	m.lock()
	now := m.g.alarms.now()
	check := m.schedule.check != 0 && m.schedule.check <= now
	switch {
	case check:
		m.schedule.check = 0
	case m.schedule.check != 0:
		m.wakeAt(m.schedule.check)
	}
	if !m.waiters.empty() {
		m.readStalled()
	}
	m.scheduleReads()
	m.unlock()
	if check {
		m.check()
	}
}

// check verifies a mailbox with waiters against the store, and evicts one that nobody has used for the linger time.
func (m *mailbox) check() {
	m.lock()
	m.dropRing(m.ring.aged(m.head))
	idle := m.waiters.empty()
	if idle {
		m.schedule.readDue = m.schedule.readDue || m.trust.unseen
	} else {
		m.resyncSoon()
	}
	m.unlock()
	if idle {
		m.g.evict(m)
	}
}

// overdue reports whether a read of the store is overdue: it was due while nobody waited, or the last one is too old, which is sooner
// while the bus is disconnected. m.mu is held.
func (m *mailbox) overdue() bool {
	now := m.g.alarms.now()
	age := now - m.trust.at
	return m.schedule.readDue || m.schedule.gap.over(m.head, now) || m.schedule.undecided.over(m.head, now) ||
		age >= m.g.cfg.VerifyEvery || (age >= m.g.cfg.AwayEvery && !m.g.bus.Connected())
}

// readStalled starts a read of the store if the head has stood for too long, and reports whether it did. m.mu is held.
func (m *mailbox) readStalled() bool {
	now := m.g.alarms.now()
	gap, undecided := m.schedule.gap.over(m.head, now), m.schedule.undecided.over(m.head, now)
	if gap {
		m.schedule.gap.due = notDue // the resync repeats from here
		m.g.metrics.gaps.Inc()
	}
	if undecided {
		m.schedule.undecided.due = notDue
	}
	if gap || undecided {
		m.resyncSoon()
	}
	return gap || undecided
}

// recheckIn schedules a read of the store after d, unless the head moves before. m.mu is held.
func (m *mailbox) recheckIn(d time.Duration) {
	m.schedule.undecided = stall{m.head, m.g.alarms.now() + d}
	m.scheduleReads()
}

// scheduleReads schedules the reads of the store that unblock the head, if there are waiters: at once if the next event is a reference,
// else when the head has stood for too long. m.mu is held.
func (m *mailbox) scheduleReads() {
	if m.head == unknown {
		return
	}
	s := &m.schedule
	if !m.reorder.empty() && s.gap.head != m.head {
		s.gap = stall{m.head, m.g.alarms.now() + gapTimeout}
	}
	if m.waiters.empty() {
		return
	}
	if e, there := m.reorder.events[m.head+1]; there && e.Kind == delivery.Reference {
		m.resyncSoon()
		return
	}
	for _, stalled := range []stall{s.gap, s.undecided} {
		if stalled.head == m.head && stalled.due != notDue {
			m.wakeAt(stalled.due)
		}
	}
}
