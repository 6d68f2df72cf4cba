package gateway

import (
	"math"
	"time"

	"github.com/sealpost/sealpost/pkg/delivery"
)

// gapPatience is how long the head may stand while an event waits for its predecessor, before the store is read. Sends
// that overlap often end in the other order, and under load a group commit apart. An event that is lost without the bus
// saying so, which is what this is for, is rare: its sender died between the commit and the publication.
const gapPatience = 200 * time.Millisecond

// notDue is when nothing more is due.
const notDue = time.Duration(math.MaxInt64)

// schedule is when a mailbox has to be looked at again.
type schedule struct {
	// check is when the mailbox is to be checked, whatever has come meanwhile; 0 for never.
	check time.Duration
	// owed: a read has told nothing, or was to be made when nobody waited. It is made for the next who waits.
	owed bool
	// gap and undecided are for what the head waits for: an event that has not come, and a position that the last read of the store
	// found undecided.
	gap, undecided stall
}

// stall says when the store is to be read if the head still stands where it stood: under load something is always under way beyond
// the head, and nearly always its event comes.
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
	m.checkSoon(d)
}

// checkSoon is checkIn with m.mu held.
func (m *mailbox) checkSoon(d time.Duration) {
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
	m.watch()
	m.unlock()
	if check {
		m.check()
	}
}

// check verifies a mailbox with waiters against the store, and forgets one that nobody has used for a while.
func (m *mailbox) check() {
	m.lock()
	m.dropRing(m.ring.aged(m.head))
	idle := m.waiters.empty()
	if idle {
		m.schedule.owed = m.schedule.owed || m.trust.unseen
	} else {
		m.resyncSoon()
	}
	m.unlock()
	if idle {
		m.g.evict(m)
	}
}

// overdue reports whether the store is to be read again by now. Nobody waited at the time, for whom it would have been, or the last
// read is long ago; while the bus is away, that is soon. m.mu is held.
func (m *mailbox) overdue() bool {
	now := m.g.alarms.now()
	age := now - m.trust.at
	return m.schedule.owed || m.schedule.gap.over(m.head, now) || m.schedule.undecided.over(m.head, now) ||
		age >= m.g.cfg.VerifyEvery || (age >= m.g.cfg.AwayEvery && !m.g.bus.Connected())
}

// readStalled starts the read of the store that a head which has stood for too long asks for, and reports whether it did. m.mu is
// held.
func (m *mailbox) readStalled() bool {
	now := m.g.alarms.now()
	gap, undecided := m.schedule.gap.over(m.head, now), m.schedule.undecided.over(m.head, now)
	if gap {
		m.schedule.gap.due = notDue // the read takes it from here
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

// recheckIn has the store read again after d, if the head does not move before. m.mu is held.
func (m *mailbox) recheckIn(d time.Duration) {
	m.schedule.undecided = stall{m.head, m.g.alarms.now() + d}
	m.watch()
}

// watch has the store read for what the head waits for, if anybody waits: at once for an event that came as a reference, and when
// the head has stood for too long. m.mu is held.
func (m *mailbox) watch() {
	if m.head == unknown {
		return
	}
	s := &m.schedule
	if !m.reorder.empty() && s.gap.head != m.head {
		s.gap = stall{m.head, m.g.alarms.now() + gapPatience}
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
