package gateway

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/token"
)

// Observer is notified when a parked poll ends.
type Observer interface {
	// Completed is called once, unless the poll is withdrawn first, and once more for each Resume. The user's mailbox is locked during the
	// call: Completed must not block or call the gateway.
	Completed(a Answer, err error)
}

// Parked is a poll that waits. The first to complete it wins: an event, its timeout, a revocation, the drain of the node, or the
// disconnect of its client. parkedTable, in the tests, lists its states and what leads from one to another.
type Parked struct {
	mailbox *mailbox
	// index is its index in the mailbox's list; notListed once it is completed or withdrawn.
	index int32
	// place is what it holds of the node.
	place *admission.Holding
	// resumes: it may wait again. between: it is completed, and neither Resume nor Leave was called. withdrawn: Withdraw was called.
	// displaced: Displaced was called.
	resumes, between, withdrawn, displaced bool
	// The rest of the query.
	limit      int
	since      time.Duration // when it came, for a stream when that began
	tokenID    string
	generation int64
	until      time.Duration

	// position is where it stands, skipped the empty positions passed.
	position int64
	skipped  []int64
	observer Observer
	// early is the outcome, if it came before the Observer.
	early *outcome
}

const notListed = -1

// waiters are the polls that wait at a mailbox's head. The zero value is empty.
type waiters struct {
	list []*Parked
	// between counts the completed polls that keep their places.
	between int
}

// places is how many polls have a place here.
func (w *waiters) places() int { return len(w.list) + w.between }

func (w *waiters) empty() bool { return len(w.list) == 0 }

func (w *waiters) add(p *Parked) {
	p.index = int32(len(w.list))
	w.list = append(w.list, p)
}

// remove takes a poll off the list, and reports whether it was there.
func (w *waiters) remove(p *Parked) bool {
	if p.index == notListed {
		return false
	}
	last := len(w.list) - 1
	w.list[p.index] = w.list[last]
	w.list[p.index].index = p.index
	w.list[last] = nil
	if w.list = w.list[:last]; last == 0 {
		w.list = nil
	}
	p.index = notListed
	return true
}

// all returns a copy of the list.
func (w *waiters) all() []*Parked { return slices.Clone(w.list) }

type outcome struct {
	answer Answer
	err    error
}

// park makes a poll wait if it stands at the head and the head can be trusted. Else it returns nil, and the poll has to read the store.
func (m *mailbox) park(p *polling) (*Parked, error) {
	m.lock()
	defer m.unlock()
	return m.parkLocked(p)
}

// parkLocked is park with m.mu held.
func (m *mailbox) parkLocked(from *polling) (*Parked, error) {
	q, at := from.q, from.at
	if !m.trusted() || at.Position != m.head || (q.Wait == 0 && !from.hasRead && m.overdue()) {
		return nil, nil
	}
	p := from.resumed
	if p == nil {
		if !m.makeRoom() {
			return nil, ErrTooManyPolls
		}
		p = &Parked{mailbox: m, place: from.place, limit: q.Limit, since: from.began, tokenID: q.Caller.TokenID, generation: q.Caller.Generation, resumes: q.Resumes}
		p.until = from.until()
		p.place.Loosen(p)
	}
	p.position, p.skipped = at.Position, at.Skipped
	m.clearBetween(p)
	m.waiters.add(p)
	if m.finishOvertaken(p) {
		return p, nil
	}
	if m.g.isDraining() {
		m.releaseLocked(p)
		return p, nil
	}
	m.checkInLocked(m.g.period())
	if !m.readStalled() && (m.schedule.readDue || !from.hasRead && m.overdue()) {
		m.resyncSoon()
	}
	m.scheduleReads()
	// This check sees a revocation that came before it; a later one finds the poll in the list.
	if m.g.cfg.Revoked(q.Caller) {
		m.finish(p, outcome{err: ErrRevoked})
	}
	return p, nil
}

// finishOvertaken ends a poll that must not wait again, because of what happened since its last answer, and reports whether it did. m.mu is
// held.
func (m *mailbox) finishOvertaken(p *Parked) bool {
	switch {
	case p.withdrawn:
		return m.finish(p, outcome{err: context.Canceled})
	case p.displaced:
		return m.finish(p, outcome{err: ErrAtCapacity})
	}
	return false
}

// makeRoom makes room for one more poll, and reports whether it could. At the user's limit it ends the oldest that waits: connections whose
// network has died must not keep their user out. m.mu is held.
func (m *mailbox) makeRoom() bool {
	if m.waiters.places() < m.g.cfg.MaxPollsPerUser {
		return true
	}
	m.g.metrics.refused.WithLabelValues("user_limit").Inc()
	if m.waiters.empty() {
		return false
	}
	oldest := slices.MinFunc(m.waiters.list, func(a, b *Parked) int { return cmp.Compare(a.since, b.since) })
	m.finish(oldest, outcome{err: ErrTooManyPolls})
	m.clearBetween(oldest)
	return true
}

// clearBetween notes that a poll is no longer between two waits. m.mu is held.
func (m *mailbox) clearBetween(p *Parked) {
	if p.between {
		p.between = false
		m.waiters.between--
	}
}

// Resume makes a completed poll, whose query said Resumes, wait again after a position. Its Observer gets the outcome, at once or later.
// Until returns a new time, which the caller has to watch. Resume does not block: a read of the store runs in the background.
func (p *Parked) Resume(after int64, wait time.Duration) {
	m := p.mailbox
	m.lock()
	defer m.unlock()
	from := &polling{g: m.g, m: m, q: p.query(after, wait), began: m.g.alarms.now(), at: Answer{Position: after}, resumed: p}
	p.until = from.until()
	if m.closed || m.g.isDraining() {
		p.position, p.skipped = after, nil
		m.deliver(p, outcome{answer: Answer{Position: after, Close: true}})
		return
	}
	if m.fromRingLocked(&from.at, p.limit) {
		m.deliver(p, outcome{answer: from.at})
		return
	}
	if parked, _ := m.parkLocked(from); parked == nil { // no error: the poll has kept its place
		m.g.tasks.Go(from.resume)
	}
}

// resume reads the store for a poll that resumes.
func (p *polling) resume() {
	answer, parked, err := p.run(p.g.background)
	if parked == nil {
		p.m.lock()
		defer p.m.unlock()
		p.m.deliver(p.resumed, outcome{answer, err})
	}
}

// query is the query for resuming after a position.
func (p *Parked) query(after int64, wait time.Duration) Query {
	return Query{Caller: p.identity(), After: after, Limit: p.limit, Wait: wait, Resumes: true}
}

// identity is as much of the caller's identity as a revocation check needs.
func (p *Parked) identity() token.Identity {
	return token.Identity{Subject: p.mailbox.user, TokenID: p.tokenID, Generation: p.generation}
}

// User returns whose inbox the poll waits for.
func (p *Parked) User() string { return p.mailbox.user }

// Until returns when the poll times out. The watcher of the poll then calls Expire.
func (p *Parked) Until() time.Time { return p.mailbox.g.alarms.start.Add(p.until) }

// answer is a timeout at the poll's position.
func (p *Parked) answer() Answer { return Answer{Position: p.position, Skipped: p.skipped} }

// Watch sets the Observer, and calls it at once if there is an outcome.
func (p *Parked) Watch(w Observer) {
	p.mailbox.lock()
	defer p.mailbox.unlock()
	p.observer = w
	if early := p.early; early != nil {
		p.early = nil
		w.Completed(early.answer, early.err)
	}
}

// Expire completes the poll with a timeout. It returns false if the poll is completed already, or resumes and does not wait yet.
func (p *Parked) Expire() bool {
	p.mailbox.lock()
	defer p.mailbox.unlock()
	return p.mailbox.finish(p, outcome{answer: p.answer()})
}

// Withdraw ends the poll without an outcome because its client has gone. It returns false if the poll has an outcome, or resumes and does
// not wait yet: then an outcome follows soon.
func (p *Parked) Withdraw() bool {
	p.mailbox.lock()
	defer p.mailbox.unlock()
	p.withdrawn = true
	return p.mailbox.waiters.remove(p)
}

// Displaced implements admission.Owner: the poll makes room for a user who holds less of the node. If it is between two waits, it ends when
// it would wait again.
func (p *Parked) Displaced() {
	p.mailbox.lock()
	defer p.mailbox.unlock()
	p.displaced = true
	p.mailbox.finish(p, outcome{err: ErrAtCapacity})
}

// Holder returns on whose account the poll waits.
func (p *Parked) Holder() admission.Holder { return p.place.Holder() }

// Leave gives up the poll's place. Call it once, after the poll was completed or withdrawn.
func (p *Parked) Leave() {
	p.mailbox.lock()
	p.mailbox.clearBetween(p)
	p.mailbox.unlock()
	p.mailbox.g.leave(p.mailbox)
	p.mailbox.g.release(p.place)
}

// complete gives a run of events, which begins right after the waiters' position, to all waiters. A waiter that gets only empty positions
// keeps waiting. m.mu is held.
func (m *mailbox) complete(run []delivery.Event, source string) {
	all := m.waiters.all()
	// common is the answer for all waiters that have passed no empty position before the run: usually all of them.
	var common Answer
	commonLimit := 0
	for _, p := range all {
		at := common
		if p.skipped != nil || p.limit != commonLimit {
			at = p.answer()
			addEvents(&at, run, p.limit)
			if len(at.Objects) == 0 && len(at.Skipped) < inbox.MaxSkipped {
				p.position, p.skipped = at.Position, at.Skipped
				continue
			}
			if p.skipped == nil && len(all) > 1 {
				at.Shared = new(Shared)
				common, commonLimit = at, p.limit
			}
		}
		m.finish(p, outcome{answer: at})
		m.g.metrics.completions.WithLabelValues(source).Inc()
		if at := run[0].AcceptedAt; !at.IsZero() {
			m.g.metrics.delivered(at, run[0].Trace)
		}
	}
}

// finish gives a waiting poll its outcome, and reports whether the poll was waiting. m.mu is held.
func (m *mailbox) finish(p *Parked, o outcome) bool {
	if !m.waiters.remove(p) {
		return false
	}
	m.deliver(p, o)
	return true
}

// deliver gives a poll its outcome. m.mu is held.
func (m *mailbox) deliver(p *Parked, o outcome) {
	m.g.count(o.answer, o.err)
	p.skipped = nil
	if p.resumes && !p.between {
		p.between = true
		m.waiters.between++
	}
	if p.observer == nil {
		p.early = &o
		return
	}
	p.observer.Completed(o.answer, o.err)
}

// revoke ends the polls whose token a record refuses.
func (m *mailbox) revoke(r revocation.Record) {
	m.lock()
	defer m.unlock()
	for _, p := range m.waiters.all() {
		if r.Refuses(p.identity()) {
			m.finish(p, outcome{err: ErrRevoked})
		}
	}
}

// release answers a poll with a timeout and asks its client to reconnect elsewhere.
func (m *mailbox) release(p *Parked) {
	m.lock()
	defer m.unlock()
	m.releaseLocked(p)
}

// releaseLocked is release with m.mu held.
func (m *mailbox) releaseLocked(p *Parked) {
	at := p.answer()
	at.Close = true
	m.finish(p, outcome{answer: at})
}

func (m *mailbox) releaseAll() {
	for _, p := range m.waiting() {
		m.release(p)
	}
}

func (m *mailbox) waiting() []*Parked {
	m.lock()
	defer m.unlock()
	return m.waiters.all()
}
