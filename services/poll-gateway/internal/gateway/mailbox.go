package gateway

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/delivery"
)

const (
	// gapPatience is how long the head may stand while an event waits for its predecessor, before the store is read.
	// Sends that overlap often end in the other order, and under load a group commit apart. An event that is lost without
	// the bus saying so, which is what this is for, is rare: its sender died between the commit and the publication.
	gapPatience = 200 * time.Millisecond
	// firstVerify is when a user who has just become warm is verified for the first time: in a cluster of bus servers
	// the news of a subscription takes a moment to reach the others.
	firstVerify = time.Second
	// firstRecheck and lastRecheck bound how soon an undecided position is looked at again; the time doubles.
	firstRecheck = 50 * time.Millisecond
	lastRecheck  = time.Second
	// refillLimit is how many messages one read of the store brings for waiting polls.
	refillLimit = 100
	// maxPending bounds the events that wait for a predecessor. What is beyond is found in the store.
	maxPending = 1024
)

// unknown is the head of a mailbox that has not asked the store yet.
const unknown = -1

// never is when nothing more is due.
const never = time.Duration(math.MaxInt64)

// mailbox is one warm user. All waiting polls stand at its head: whatever moves the head answers them or takes them
// along.
type mailbox struct {
	g    *Gateway
	user string
	// users counts the polls that use this mailbox; idleSince is when the last one left. The shard's lock guards both.
	users     int
	idleSince time.Duration

	warming sync.Once
	// subscription is set once, by warm.
	subscription bus.Subscription

	mu sync.Mutex
	// head: every position up to here is decided, and is in the store.
	head int64
	// verified is the disruption count at which the store last confirmed the head, and verifiedAt when.
	verified   int64
	verifiedAt time.Duration
	// ring holds the last events up to head, contiguous.
	ring      []delivery.Event
	ringBytes int
	// ringMark is where the head was at the last check: events up to there leave the ring at the next one.
	ringMark int64
	// pending holds events that wait for a predecessor, or are references; pendingBytes are those of their objects.
	pending      map[int64]delivery.Event
	pendingBytes int
	// gapHead is the head at which events were first seen to wait for a predecessor; at gapDue the store is read, if it
	// still stands there, once.
	gapHead int64
	gapDue  time.Duration
	polls   []*Parked
	// moved is closed when a refill ends. It is there if somebody waits for that.
	moved chan struct{}

	// refilling: one read of the store at a time serves all waiting polls; again asks for another one after it.
	refilling, again bool
	recheck          time.Duration
	// checkDue is when the mailbox is to be checked, gap or not; 0 for never.
	checkDue time.Duration
	alarm    alarm
	// doubts counts the payloads of this user that could not be read.
	doubts atomic.Int64
	closed bool
}

func newMailbox(g *Gateway, user string) *mailbox {
	return &mailbox{
		g: g, user: user, head: unknown, verified: unknown,
		recheck: firstRecheck, gapHead: unknown,
	}
}

// warm subscribes, once. Reads of the store that begin after it has returned miss no event: what was committed before
// they find, what is committed after is published to the subscription.
func (m *mailbox) warm(ctx context.Context) {
	m.warming.Do(func() {
		s, err := m.g.bus.Subscribe(context.WithoutCancel(ctx), m.user) // it is for all polls of the user
		if err != nil {
			m.g.log.Debug("subscription not confirmed", "error", err.Error())
		}
		m.subscription = s
		m.scheduleIn(firstVerify)
	})
}

func (m *mailbox) close() {
	m.mu.Lock()
	m.closed = true
	m.dropRing(len(m.ring))
	m.g.alarms.clear(m)
	m.mu.Unlock()
	m.warming.Do(func() {})
	if m.subscription != nil {
		if err := m.subscription.Unsubscribe(); err != nil {
			m.g.log.Debug("unsubscribe", "error", err.Error())
		}
	}
}

// trusted reports whether the head can be relied on. m.mu is held.
func (m *mailbox) trusted() bool {
	return m.head != unknown && m.verified == m.disruptions() && m.g.alarms.now()-m.verifiedAt < 2*m.g.cfg.VerifyEvery
}

// learn takes from a reader of the store that everything up to position is decided, and that nothing more was there
// at the given disruption count. If polls wait at a lower head, they must be given what is between first: then wait is
// not nil, and is closed when there is news.
func (m *mailbox) learn(position, disruption int64) (wait <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if position < m.head {
		return nil // the head has moved on meanwhile
	}
	if position > m.head && len(m.polls) > 0 {
		m.refillSoon()
		if m.moved == nil {
			m.moved = make(chan struct{})
		}
		return m.moved
	}
	if position > m.head {
		m.dropRing(len(m.ring))
		m.head = position
	}
	m.verified, m.verifiedAt = disruption, m.g.alarms.now()
	m.advance(nil)
	return nil
}

// disruptions counts the times that events of this user may have been lost.
func (m *mailbox) disruptions() int64 { return m.g.disruption.Load() + m.doubts.Load() }

// doubt takes an event from the bus that cannot be read: it may be one of a later version. What it tells of is in the store.
func (m *mailbox) doubt() {
	m.doubts.Add(1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.polls) > 0 {
		m.refillSoon()
	}
}

// news wakes those who wait for the head to move. m.mu is held.
func (m *mailbox) news() {
	if m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
}

// receive takes events from the bus.
func (m *mailbox) receive(events []delivery.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	var run []delivery.Event
	for _, e := range events {
		switch {
		case e.Position <= m.head:
		case m.head != unknown && e.Position == m.head+1 && e.Kind != delivery.Reference:
			m.push(e)
			run = append(run, e)
		default:
			m.hold(e)
		}
	}
	if m.head != unknown {
		m.advance(run)
	}
}

// hold keeps an event that waits for its predecessor. Objects for which there is no room are found in the store.
func (m *mailbox) hold(e delivery.Event) {
	if _, there := m.pending[e.Position]; there || len(m.pending) >= maxPending {
		return
	}
	if m.pendingBytes+len(e.Object) > m.g.cfg.RingBytes {
		e.Kind, e.Object = delivery.Reference, nil
	}
	if m.pending == nil {
		m.pending = make(map[int64]delivery.Event)
	}
	m.pending[e.Position] = e
	m.pendingBytes += len(e.Object)
}

// unhold takes a pending event back.
func (m *mailbox) unhold(position int64) {
	m.pendingBytes -= len(m.pending[position].Object)
	delete(m.pending, position)
}

// advance moves the head on over the pending events that follow it and completes the waiting polls with them, and with
// the run before them, which the head has passed already. m.mu is held.
func (m *mailbox) advance(run []delivery.Event) {
	for len(m.pending) > 0 {
		e, there := m.pending[m.head+1]
		if !there || e.Kind == delivery.Reference {
			break
		}
		m.unhold(e.Position)
		m.push(e)
		run = append(run, e)
	}
	m.dropStale()
	if len(run) > 0 {
		m.complete(run, "event")
	}
	m.mindGap()
}

// mindGap has the store read for what the head waits for: at once for an event that came as a reference, and after a while
// for one that has not come. m.mu is held.
func (m *mailbox) mindGap() {
	if len(m.pending) == 0 || len(m.polls) == 0 {
		return
	}
	if _, reference := m.pending[m.head+1]; reference {
		m.refillSoon()
		return
	}
	if m.gapHead != m.head {
		m.gapHead, m.gapDue = m.head, m.g.alarms.now()+gapPatience
	}
	if m.gapDue != never {
		m.ringAlarm(m.gapDue)
	}
}

// dropStale removes pending events that the head has passed.
func (m *mailbox) dropStale() {
	if len(m.pending) == 0 {
		return
	}
	for position := range m.pending {
		if position <= m.head {
			m.unhold(position)
		}
	}
	if len(m.pending) == 0 {
		m.pending = nil
	}
}

// push makes e, whose position is head+1, the head and the newest event of the ring. m.mu is held.
func (m *mailbox) push(e delivery.Event) {
	m.head = e.Position
	m.ring = append(m.ring, e)
	m.ringBytes += len(e.Object)
	cfg := &m.g.cfg
	excess := m.g.ringBytes.Add(int64(len(e.Object))) - cfg.AllRingBytes
	drop, dropped := 0, 0
	for drop < len(m.ring) &&
		(len(m.ring)-drop > cfg.RingEvents || m.ringBytes-dropped > cfg.RingBytes || excess > int64(dropped)) {
		dropped += len(m.ring[drop].Object)
		drop++
	}
	m.dropRing(drop)
}

// dropRing forgets the oldest n events of the ring. m.mu is held.
func (m *mailbox) dropRing(n int) {
	bytes := 0
	for i := range m.ring[:n] {
		bytes += len(m.ring[i].Object)
		m.ring[i] = delivery.Event{}
	}
	m.ringBytes -= bytes
	m.g.ringBytes.Add(int64(-bytes))
	if m.ring = m.ring[n:]; len(m.ring) == 0 {
		m.ring = nil
	}
}

// fromRing moves at forward over events of the ring, and reports whether that gave it something to tell.
func (m *mailbox) fromRing(at *Answer, limit int) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldest := m.head - int64(len(m.ring))
	if !m.trusted() || at.Position < oldest || at.Position >= m.head {
		return false
	}
	gather(at, m.ring[at.Position-oldest:], limit)
	if len(at.Objects) > 0 {
		m.g.metrics.completions.WithLabelValues("ring").Inc()
	}
	return len(at.Objects) > 0
}

// gather adds events to an answer, up to limit messages.
func gather(at *Answer, events []delivery.Event, limit int) {
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

// scheduleIn makes check run no later than after d.
func (m *mailbox) scheduleIn(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.schedule(d)
}

// schedule is scheduleIn with m.mu held.
func (m *mailbox) schedule(d time.Duration) {
	due := m.g.alarms.now() + d
	if m.checkDue == 0 || due < m.checkDue {
		m.checkDue = due
	}
	m.ringAlarm(m.checkDue)
}

// ringAlarm makes look run no later than at due.
func (m *mailbox) ringAlarm(due time.Duration) {
	if !m.closed {
		m.g.alarms.set(m, due)
	}
}

// look is what the alarm does: it sees what of the mailbox's affairs is due.
func (m *mailbox) look() {
	m.mu.Lock()
	now := m.g.alarms.now()
	check := m.checkDue != 0 && m.checkDue <= now
	switch {
	case check:
		m.checkDue = 0
	case m.checkDue != 0:
		m.ringAlarm(m.checkDue)
	}
	if len(m.pending) > 0 && len(m.polls) > 0 && m.gapHead == m.head && m.gapDue <= now {
		m.gapDue = never // the read takes it from here
		m.g.metrics.gaps.Inc()
		m.refillSoon()
	}
	m.mindGap()
	m.mu.Unlock()
	if check {
		m.check()
	}
}

// check verifies a mailbox with waiting polls against the store, and forgets one that nobody has used for a while.
func (m *mailbox) check() {
	m.mu.Lock()
	old := 0
	for old < len(m.ring) && m.ring[old].Position <= m.ringMark {
		old++
	}
	m.dropRing(old)
	m.ringMark = m.head
	idle := len(m.polls) == 0
	if !idle {
		m.refillSoon()
	}
	m.mu.Unlock()
	if idle {
		m.g.evict(m)
	}
}

// refillSoon starts a read of the store for the waiting polls, or has the one under way be followed by another. m.mu
// is held.
func (m *mailbox) refillSoon() {
	if m.refilling {
		m.again = true
		return
	}
	if m.closed || m.g.background.Err() != nil {
		return
	}
	m.refilling = true
	m.g.tasks.Go(m.refill)
}

// refill reads the store from the head on and hands what it finds to the waiting polls.
func (m *mailbox) refill() {
	for {
		m.mu.Lock()
		from, before := m.head, m.disruptions()
		m.again = false
		m.mu.Unlock()
		next := m.refillFrom(from, before)
		m.mu.Lock()
		m.news()
		if !m.again && next > 0 {
			m.refilling = false
			m.schedule(next)
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		if g := m.g; g.background.Err() != nil {
			return
		}
	}
}

// refillFrom does one read and returns when to look again; 0 for at once.
func (m *mailbox) refillFrom(from, disruption int64) (next time.Duration) {
	g := m.g
	if from == unknown {
		return g.period()
	}
	batch, err := g.read(g.background, m.user, from, refillLimit)
	g.answered(err)
	if err != nil {
		return jittered(g.cfg.AwayEvery)
	}
	events := make([]delivery.Event, 0, len(batch.Items)+len(batch.Skipped))
	for _, item := range batch.Items {
		e, err := g.event(g.background, item)
		if err != nil {
			g.answered(err)
			return jittered(g.cfg.AwayEvery)
		}
		events = append(events, e)
	}
	for _, position := range batch.Skipped {
		events = append(events, delivery.Event{Kind: delivery.Empty, Position: position})
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if batch.PastHead {
		m.reset()
		return g.period()
	}
	m.merge(events)
	switch {
	case batch.More:
		return 0
	case batch.Blocked:
		m.recheck = min(2*m.recheck, lastRecheck)
		return m.recheck
	}
	m.recheck = firstRecheck
	m.verified, m.verifiedAt = disruption, m.g.alarms.now()
	return g.period()
}

// answered tells the log that the store has begun to fail what mailboxes read on their own, and that it has ceased to: once each,
// however many there are. Nobody is waiting for an answer that could tell.
func (g *Gateway) answered(err error) {
	switch {
	case err == nil:
		if g.away.Load() && g.away.CompareAndSwap(true, false) {
			g.log.Info("the message store answers again")
		}
	case g.background.Err() == nil && g.away.CompareAndSwap(false, true):
		g.log.Warn("the message store fails reads for polls that wait: they are tried again", "error", err.Error())
	}
}

// period is how long a mailbox may go unverified.
func (g *Gateway) period() time.Duration {
	if g.bus.Connected() {
		return jittered(g.cfg.VerifyEvery)
	}
	return jittered(g.cfg.AwayEvery)
}

// merge puts what the store holds in place of, and beside, what the bus brought. m.mu is held.
func (m *mailbox) merge(events []delivery.Event) {
	var run []delivery.Event
	found := make(map[int64]delivery.Event, len(events))
	for _, e := range events {
		if e.Position > m.head {
			found[e.Position] = e
		}
	}
	for {
		e, there := found[m.head+1]
		if !there {
			break
		}
		if _, told := m.pending[e.Position]; !told && e.Kind != delivery.Empty {
			m.g.metrics.recovered.Inc()
		}
		m.push(e)
		run = append(run, e)
	}
	if len(run) > 0 {
		m.complete(run, "store")
	}
	m.advance(nil)
}
