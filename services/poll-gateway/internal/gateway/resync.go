package gateway

import (
	"context"
	"time"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
)

const (
	// firstRecheck and lastRecheck limit the backoff between reads of a store that shows nothing decided. The time doubles.
	firstRecheck = 50 * time.Millisecond
	lastRecheck  = time.Second
	// resyncLimit is how many messages one resync reads.
	resyncLimit = 100
	// staleTimeout is how long reads may end below the head before the mailbox gives the head up. During a failover reads are
	// stale.
	staleTimeout = 15 * time.Second
)

// resync is the state of a mailbox's resyncs: one read at a time serves all waiters.
type resync struct {
	// running: a read is under way. again: another read must follow it.
	running, again bool
	// recheck is the backoff for undecided positions, while the head stays at stood.
	recheck time.Duration
	stood   int64
	// done is closed when the read under way ends. It is nil if nobody waits for that.
	done chan struct{}
	// staleSince is when reads began to end below the head; 0 if the last one did not.
	staleSince time.Duration
}

// ended is closed when the read under way ends.
func (r *resync) ended() <-chan struct{} {
	if r.done == nil {
		r.done = make(chan struct{})
	}
	return r.done
}

// end wakes those who wait for the read.
func (r *resync) end() {
	if r.done != nil {
		close(r.done)
		r.done = nil
	}
}

// backOff returns the time until the next read, twice the last one. At another head it starts over, unless something is unseen (see
// trust).
func (r *resync) backOff(head int64, unseen bool) time.Duration {
	if r.stood != head && !unseen {
		r.recheck = firstRecheck
	}
	r.stood = head
	r.recheck = min(2*r.recheck, lastRecheck)
	return r.recheck
}

// resyncSoon starts a resync, or schedules another after the one under way. m.mu is held.
func (m *mailbox) resyncSoon() {
	if m.resync.running {
		m.resync.again = true
		return
	}
	if m.closed || m.g.background.Err() != nil {
		m.resync.end()
		return
	}
	m.resync.running, m.schedule.readDue = true, false
	m.g.tasks.Go(m.runResync)
}

// runResync reads the store from the head on until there is nothing more for the waiters or the next read is due later.
func (m *mailbox) runResync() {
	for {
		m.lock()
		from, generation := view{m.head, m.disruptions()}, m.generation
		m.resync.again = false
		m.unlock()
		next := m.resyncFrom(from, generation)
		stopped := m.g.background.Err() != nil
		m.lock()
		m.resync.end()
		if stopped || (!m.resync.again && next > 0) {
			m.resync.running = false
			m.checkInLocked(next)
			m.unlock()
			return
		}
		m.unlock()
	}
}

// resyncFrom does one read and returns the time until the next one; 0 for at once.
func (m *mailbox) resyncFrom(from view, generation uint32) (next time.Duration) {
	g := m.g
	if from.head == unknown {
		return g.period()
	}
	batch, err := g.read(g.background, admission.Holder{User: m.user, Network: m.network}, from.head, resyncLimit)
	var events []delivery.Event
	if err == nil {
		events, err = g.events(g.background, batch)
	}
	g.noteStoreHealth(err)
	if err != nil {
		m.lock()
		defer m.unlock()
		m.schedule.readDue = true
		return jittered(g.cfg.AwayEvery)
	}
	if batch.PastHead {
		g.recheckEpoch() // a new epoch restarts the mailbox
	}
	m.lock()
	defer m.unlock()
	if m.generation != generation {
		return g.period()
	}
	if batch.PastHead {
		m.schedule.readDue = true
		m.readWasStale()
		return m.resync.backOff(m.head, m.trust.unseen)
	}
	m.merge(events)
	switch {
	case batch.More && batch.Next > from.head:
		return 0
	case batch.More, batch.Blocked: // More without progress: two reads of the store disagree
		m.readWasBlocked(m.resync.backOff(m.head, m.trust.unseen))
		return g.period()
	}
	m.resync.recheck, m.trust.unseen = firstRecheck, false
	m.confirm(from.disruptions)
	if m.schedule.gap.due == notDue {
		m.schedule.gap = noStall() // an event still beyond the head came after the read, or the read was stale
		m.scheduleReads()
	}
	return g.period()
}

// events makes the events that the bus would have carried for a batch, in any order.
func (g *Gateway) events(ctx context.Context, batch inbox.Batch) ([]delivery.Event, error) {
	events := make([]delivery.Event, 0, len(batch.Items)+len(batch.Skipped))
	for _, item := range batch.Items {
		e, err := g.event(ctx, item)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
	}
	for _, position := range batch.Skipped {
		events = append(events, delivery.Event{Kind: delivery.Empty, Position: position})
	}
	return events, nil
}

// merge moves the head over the events read from the store, then over the reorder buffer. m.mu is held.
func (m *mailbox) merge(events []delivery.Event) {
	found := make(map[int64]delivery.Event, len(events))
	for _, e := range events {
		found[e.Position] = e
	}
	var run []delivery.Event
	for {
		e, there := found[m.head+1]
		if !there {
			break
		}
		if !m.reorder.has(e.Position) && e.Kind != delivery.Empty {
			m.g.metrics.recovered.Inc()
		}
		m.appendEvent(e)
		run = append(run, e)
	}
	if len(run) > 0 {
		m.complete(run, "store")
	}
	m.advance(nil)
}

// readWasStale notes that a read of the store ended below the head. It was stale, most likely: right after a failover of the store, or
// because another connection is behind. If that persists, the log was set back without a new epoch: the waiters get ErrStale, and the
// mailbox restarts. m.mu is held.
func (m *mailbox) readWasStale() {
	m.g.metrics.staleReads.Inc()
	now := max(1, m.g.alarms.now())
	if m.resync.staleSince == 0 {
		m.resync.staleSince = now
	}
	if now-m.resync.staleSince < staleTimeout {
		return
	}
	m.g.log.Warn("the message store holds less than it did: was it restored without a new epoch?")
	m.restart(outcome{err: ErrStale})
}

// noteStoreHealth logs when the reads that mailboxes make for waiters begin to fail, and when they succeed again: once for all mailboxes. No
// client waits for these reads, so nobody else would report the fault.
func (g *Gateway) noteStoreHealth(err error) {
	switch {
	case err == nil:
		if g.away.Load() && g.away.CompareAndSwap(true, false) {
			g.log.Info("the message store answers again")
		}
	case g.background.Err() == nil && g.away.CompareAndSwap(false, true):
		g.log.Warn("reads of the message store for waiting polls fail: retrying", "error", err.Error())
	}
}

// period is the time until the next verification.
func (g *Gateway) period() time.Duration {
	if g.bus.Connected() {
		return jittered(g.cfg.VerifyEvery)
	}
	return jittered(g.cfg.AwayEvery)
}
