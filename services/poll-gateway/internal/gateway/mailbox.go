package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/delivery"
)

const (
	// gapPatience is how long an event waits for its predecessor before the store is read: two nodes may well publish
	// in the other order.
	gapPatience = 20 * time.Millisecond
	// firstVerify is when a user who has just become warm is verified for the first time: in a cluster of bus servers
	// the news of a subscription takes a moment to reach the others.
	firstVerify = time.Second
	// firstRecheck and lastRecheck bound how soon an undecided position is looked at again; the time doubles.
	firstRecheck = 50 * time.Millisecond
	lastRecheck  = time.Second
	// refillLimit is how many messages one read of the store brings for waiting polls.
	refillLimit = 100
	// maxPending bounds the events that wait for a predecessor. What is beyond is found in the store.
	maxPending = 256
)

// unknown is the head of a mailbox that has not asked the store yet.
const unknown = -1

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
	// pending holds events beyond head+1.
	pending map[int64]delivery.Event
	polls   []*Parked
	// moved is closed when a refill ends. It is there if somebody waits for that.
	moved chan struct{}

	// refilling: one read of the store at a time serves all waiting polls; again asks for another one after it.
	refilling, again bool
	recheck          time.Duration
	alarm            alarm
	closed           bool
}

func newMailbox(g *Gateway, user string) *mailbox {
	return &mailbox{
		g: g, user: user, head: unknown, verified: unknown,
		recheck: firstRecheck,
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
	return m.head != unknown && m.verified == m.g.disruption.Load() && m.g.alarms.now()-m.verifiedAt < 2*m.g.cfg.VerifyEvery
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
		m.head, m.ring, m.ringBytes = position, nil, 0
	}
	m.verified, m.verifiedAt = disruption, m.g.alarms.now()
	m.advance()
	return nil
}

// news wakes those who wait for the head to move. m.mu is held.
func (m *mailbox) news() {
	if m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
}

// receive takes an event from the bus.
func (m *mailbox) receive(e delivery.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || e.Position <= m.head || len(m.pending) >= maxPending {
		return
	}
	if m.pending == nil {
		m.pending = make(map[int64]delivery.Event)
	}
	m.pending[e.Position] = e
	if m.head == unknown {
		return
	}
	next, there := m.pending[m.head+1]
	switch {
	case there && next.Kind == delivery.Reference:
		m.refillSoon()
	case there:
		m.advance()
	default:
		m.g.metrics.gaps.Inc()
		m.schedule(gapPatience)
	}
}

// advance moves the head over the pending events that follow it and completes the waiting polls with them. m.mu is
// held.
func (m *mailbox) advance() {
	var run []delivery.Event
	for {
		e, there := m.pending[m.head+1]
		if !there || e.Kind == delivery.Reference {
			break
		}
		delete(m.pending, e.Position)
		m.push(e)
		run = append(run, e)
	}
	m.dropStale()
	if len(run) > 0 {
		m.complete(run, "event")
	}
	if len(m.pending) > 0 {
		m.schedule(gapPatience)
	}
}

// dropStale removes pending events that the head has passed.
func (m *mailbox) dropStale() {
	for position := range m.pending {
		if position <= m.head {
			delete(m.pending, position)
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
	drop := 0
	for len(m.ring)-drop > m.g.cfg.RingEvents || (m.ringBytes > m.g.cfg.RingBytes && len(m.ring)-drop > 0) {
		m.ringBytes -= len(m.ring[drop].Object)
		m.ring[drop] = delivery.Event{}
		drop++
	}
	m.ring = m.ring[drop:]
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
	if !m.closed {
		m.g.alarms.set(m, d)
	}
}

// check is what the alarm does: it verifies a mailbox with waiting polls against the store, and forgets one that
// nobody has used for a while.
func (m *mailbox) check() {
	m.mu.Lock()
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
		from, before := m.head, m.g.disruption.Load()
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
	if err != nil {
		return jittered(g.cfg.AwayEvery)
	}
	events := make([]delivery.Event, 0, len(batch.Items)+len(batch.Skipped))
	for _, item := range batch.Items {
		e, err := g.event(g.background, item)
		if err != nil {
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
	m.advance()
}
