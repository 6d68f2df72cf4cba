package gateway

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/delivery"
)

// firstVerify is the delay before the first verification of a new mailbox: in a cluster of bus servers a subscription takes a moment to
// reach the others.
const firstVerify = time.Second

// unknown is the head of a mailbox that has not read the store yet.
const unknown = -1

// mailbox is the state of one warm user: what this node knows of the inbox, and the waiters. Every move of the head either answers the
// waiters or moves them to the new head.
//
// trust says whether the head can be relied on, ring keeps the last events up to the head, reorder those beyond it, waiters the polls.
// resync reads the store, and schedule knows when to look again. invariants.go lists the invariants.
type mailbox struct {
	g    *Gateway
	user string
	// network is where its first poll came from.
	network admission.Network
	// users counts the polls that use this mailbox; idleSince is when the last one left. The shard's lock guards both.
	users     int
	idleSince time.Duration

	warming sync.Once
	// subscription is set once, by warm.
	subscription bus.Subscription

	mu sync.Mutex
	// head: every position up to here is decided and in the store. All waiters stand here.
	head     int64
	trust    trust
	ring     ring
	reorder  reorder
	waiters  waiters
	resync   resync
	schedule schedule
	// generation counts the restarts of the mailbox. A read that began in an earlier generation is ignored.
	generation uint32
	closed     bool
	alarm      alarm
}

func newMailbox(g *Gateway, who admission.Holder) *mailbox {
	return &mailbox{
		g: g, user: who.User, network: who.Network, head: unknown, trust: trust{confirmed: never},
		resync: resync{recheck: firstRecheck}, schedule: schedule{gap: noStall(), undecided: noStall()},
	}
}

func (m *mailbox) lock() { m.mu.Lock() }

func (m *mailbox) unlock() {
	if assertions {
		m.mustHold()
	}
	m.mu.Unlock()
}

// warm subscribes, once. A read of the store that begins after it has returned misses no event: the read finds what was committed before,
// and what is committed later is published to the subscription.
func (m *mailbox) warm(ctx context.Context) {
	m.warming.Do(func() {
		s, err := m.g.bus.Subscribe(context.WithoutCancel(ctx), m.user) // it serves all polls of the user
		if err != nil {
			m.g.log.Debug("subscription not confirmed", "error", err.Error())
		}
		m.subscription = s
		m.checkIn(firstVerify)
	})
}

func (m *mailbox) close() {
	m.lock()
	m.closed = true
	m.dropRing(len(m.ring.events))
	m.g.alarms.clear(m)
	m.unlock()
	m.warming.Do(func() {})
	if m.subscription != nil {
		if err := m.subscription.Unsubscribe(); err != nil {
			m.g.log.Debug("unsubscribe", "error", err.Error())
		}
	}
}

// eventLost notes that an event of this user was lost or could not be read. The store has what it told of.
func (m *mailbox) eventLost() {
	m.trust.lostEvents.Add(1)
	m.lock()
	defer m.unlock()
	if !m.waiters.empty() {
		m.resyncSoon()
	}
}

// handle takes events from the bus, or has the store read if one of them asks for it.
func (m *mailbox) handle(events []delivery.Event) {
	if slices.ContainsFunc(events, func(e delivery.Event) bool { return e.Kind == delivery.Look }) {
		m.eventLost()
		return
	}
	m.receive(events)
}

// receive takes events that tell of positions. It reuses the slice.
func (m *mailbox) receive(events []delivery.Event) {
	m.lock()
	defer m.unlock()
	if m.closed {
		return
	}
	run := events[:0] // overwrites only what the loop has read
	for _, e := range events {
		switch {
		case e.Position <= m.head:
		case m.head != unknown && e.Position == m.head+1 && e.Kind != delivery.Reference:
			m.appendEvent(e)
			run = append(run, e)
		default:
			m.reorder.hold(e, m.g.cfg.RingBytes)
		}
	}
	if m.head != unknown {
		m.advance(run)
	}
}

// advance moves the head over the events in the reorder buffer that follow it. It completes the waiters with run, which the head has
// passed already, and these events. m.mu is held.
func (m *mailbox) advance(run []delivery.Event) {
	for !m.reorder.empty() {
		e, there := m.reorder.take(m.head + 1)
		if !there {
			break
		}
		m.appendEvent(e)
		run = append(run, e)
	}
	m.reorder.passed(m.head)
	if len(run) > 0 {
		m.complete(run, "event")
	}
	m.scheduleReads()
}

// appendEvent makes e, whose position is head+1, the head and the newest event of the ring. m.mu is held.
func (m *mailbox) appendEvent(e delivery.Event) {
	m.head = e.Position
	m.ring.push(e)
	cfg := &m.g.cfg
	spare := m.g.ringBytes.Add(int64(e.Object.Len())) - cfg.AllRingBytes
	m.dropRing(m.ring.excess(cfg.RingEvents, cfg.RingBytes, spare))
}

// dropRing drops the oldest n events of the ring. m.mu is held.
func (m *mailbox) dropRing(n int) { m.g.ringBytes.Add(int64(-m.ring.drop(n))) }

// fromRing moves at forward over the events of the ring, and reports whether it now holds messages.
func (m *mailbox) fromRing(at *Answer, limit int) bool {
	m.lock()
	defer m.unlock()
	return m.fromRingLocked(at, limit)
}

// fromRingLocked is fromRing with m.mu held.
func (m *mailbox) fromRingLocked(at *Answer, limit int) bool {
	events, covered := m.ring.after(at.Position, m.head)
	if !m.trusted() || !covered {
		return false
	}
	addEvents(at, events, limit)
	if len(at.Objects) > 0 {
		m.g.metrics.completions.WithLabelValues("ring").Inc()
	}
	return len(at.Objects) > 0
}

// addEvents adds events to an answer, up to limit messages.
func addEvents(at *Answer, events []delivery.Event, limit int) {
	now := time.Now()
	for _, e := range events {
		if e.Kind == delivery.Empty || !e.ExpiresAt.After(now) {
			at.Skipped = append(at.Skipped, e.Position)
		} else {
			if len(at.Objects) == limit {
				return
			}
			at.Objects = append(at.Objects, Object{e.Position, e.Object, e.Trace})
		}
		at.Position = e.Position
	}
}

// view is a mailbox's state before a read of the store.
type view struct {
	head        int64
	disruptions int64
}

func (m *mailbox) view() view {
	m.lock()
	defer m.unlock()
	return view{m.head, m.disruptions()}
}

// confirmRead tells the mailbox what a poll has read: everything up to position is decided, and at the time of the view nothing beyond was;
// blocked means that an undecided position followed. If waiters stand at a lower head they need the positions in between first: then wait
// is not nil, and is closed when the store has been read for them.
func (m *mailbox) confirmRead(position int64, blocked bool, before view) (wait <-chan struct{}) {
	m.lock()
	defer m.unlock()
	switch {
	case position < before.head:
		m.readWasStale()
		return nil
	case position < m.head:
		return nil // the head has moved on meanwhile
	case position > m.head && !m.waiters.empty():
		m.resyncSoon()
		return m.resync.ended()
	case position > m.head:
		m.dropRing(len(m.ring.events))
		m.head = position
	}
	m.schedule.readDue = false
	if blocked {
		m.readWasBlocked(firstRecheck)
	} else {
		m.trust.unseen = false
	}
	m.confirm(before.disruptions)
	m.advance(nil)
	return nil
}

// restart ends all waiters with an outcome and resets the mailbox. m.mu is held.
func (m *mailbox) restart(o outcome) {
	for _, p := range m.waiters.all() {
		m.finish(p, o)
	}
	m.dropRing(len(m.ring.events))
	m.head, m.trust.confirmed, m.resync.staleSince = unknown, never, 0
	m.reorder = reorder{}
	m.schedule.gap, m.schedule.undecided, m.trust.unseen = noStall(), noStall(), false
	m.generation++
}

// epochChanged ends all waiters: their positions belong to another epoch.
func (m *mailbox) epochChanged() {
	m.lock()
	defer m.unlock()
	m.restart(outcome{answer: Answer{Reset: true}})
}
