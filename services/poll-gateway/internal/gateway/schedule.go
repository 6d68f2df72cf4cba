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
	// check is when the mailbox is to be checked, gap or not; 0 for never.
	check time.Duration
	// gapHead is the head at which events were first seen to wait for a predecessor; at gap the store is read, if it still
	// stands there, once.
	gapHead int64
	gap     time.Duration
}

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
	if m.hasGap() && m.schedule.gapHead == m.head && m.schedule.gap <= now {
		m.schedule.gap = notDue // the read takes it from here
		m.g.metrics.gaps.Inc()
		m.resyncSoon()
	}
	m.watchGap()
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
	if !idle {
		m.resyncSoon()
	}
	m.unlock()
	if idle {
		m.g.evict(m)
	}
}

// hasGap reports whether there are waiters, and events that cannot be given to them. m.mu is held.
func (m *mailbox) hasGap() bool { return !m.reorder.empty() && !m.waiters.empty() }

// watchGap has the store read for what the head waits for: at once for an event that came as a reference, and after a
// while for one that has not come. m.mu is held.
func (m *mailbox) watchGap() {
	if !m.hasGap() {
		return
	}
	if e, there := m.reorder.events[m.head+1]; there && e.Kind == delivery.Reference {
		m.resyncSoon()
		return
	}
	if m.schedule.gapHead != m.head {
		m.schedule.gapHead, m.schedule.gap = m.head, m.g.alarms.now()+gapPatience
	}
	if m.schedule.gap != notDue {
		m.wakeAt(m.schedule.gap)
	}
}
