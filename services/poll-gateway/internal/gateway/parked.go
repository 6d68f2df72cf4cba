package gateway

import (
	"context"
	"slices"
	"time"

	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/token"
)

// Waiter is told how a parked poll ends.
type Waiter interface {
	// Completed is called once, unless the poll is withdrawn first, and once more for each Resume. The user's mailbox is locked
	// meanwhile: it must not block, nor call the gateway.
	Completed(a Answer, err error)
}

// Parked is a poll that waits. Whoever completes it first wins: an event, the end of its time, a revocation, the draining
// of the node, or its client, who goes.
type Parked struct {
	mailbox *mailbox
	// index is where it stands in the mailbox's list; notListed once it is completed or withdrawn.
	index int32
	// resumes: it may wait again. between: it has been completed and has neither gone on nor left. withdrawn: its client went then.
	resumes, between, withdrawn bool
	// What there is to know of the query.
	limit      int
	tokenID    string
	generation int64
	until      time.Duration

	// position is where it stands, and skipped what it has passed.
	position int64
	skipped  []int64
	waiter   Waiter
	// early is the outcome, if it came before there was a waiter.
	early *outcome
}

const notListed = -1

// waiters are the polls that wait at a mailbox's head. The zero value is empty.
type waiters struct {
	list []*Parked
	// between counts those that are to go on: their places are taken.
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

// all is a copy of the list.
func (w *waiters) all() []*Parked { return slices.Clone(w.list) }

type outcome struct {
	answer Answer
	err    error
}

// park makes a poll wait, if it stands at the head and the head can be trusted; else it returns nil: the store has to
// be asked.
func (m *mailbox) park(p *polling) (*Parked, error) {
	m.lock()
	defer m.unlock()
	return m.list(p)
}

// list is park with m.mu held.
func (m *mailbox) list(from *polling) (*Parked, error) {
	q, at := from.q, from.at
	if !m.trusted() || at.Position != m.head || (q.Wait == 0 && !from.hasRead && m.overdue()) {
		return nil, nil
	}
	p := from.resumed
	if p == nil {
		if m.waiters.places() >= m.g.cfg.MaxPollsPerUser {
			m.g.metrics.refused.WithLabelValues("user_limit").Inc()
			return nil, ErrTooManyPolls
		}
		p = &Parked{mailbox: m, limit: q.Limit, tokenID: q.Caller.TokenID, generation: q.Caller.Generation, resumes: q.Resumes}
		p.until = from.until()
	}
	p.position, p.skipped = at.Position, at.Skipped
	m.goOn(p)
	m.waiters.add(p)
	switch {
	case p.withdrawn:
		m.finish(p, outcome{err: context.Canceled})
		return p, nil
	case m.g.isDraining():
		m.dismiss(p)
		return p, nil
	}
	m.checkSoon(m.g.period())
	if !m.readStalled() && (m.schedule.owed || !from.hasRead && m.overdue()) {
		m.resyncSoon()
	}
	m.watch()
	// A revocation that came before this line is seen here; one that comes later finds the poll.
	if m.g.cfg.Revoked(q.Caller) {
		m.finish(p, outcome{err: ErrRevoked})
	}
	return p, nil
}

// goOn notes that a poll is not between two waits any more. m.mu is held.
func (m *mailbox) goOn(p *Parked) {
	if p.between {
		p.between = false
		m.waiters.between--
	}
}

// Resume has a completed poll, whose query said that it resumes, go on after a position for another while. Its Waiter is told
// of the outcome, at once or later. Whoever watches the time begins anew. It does not block: if the store has to be read, that
// is done elsewhere.
func (p *Parked) Resume(after int64, wait time.Duration) {
	m := p.mailbox
	m.lock()
	defer m.unlock()
	from := &polling{g: m.g, m: m, q: p.query(after, wait), began: m.g.alarms.now(), at: Answer{Position: after}, resumed: p}
	p.until = from.until()
	if m.closed || m.g.isDraining() {
		p.position, p.skipped = after, nil
		m.conclude(p, outcome{answer: Answer{Position: after, Close: true}})
		return
	}
	if m.passRing(&from.at, p.limit) {
		m.conclude(p, outcome{answer: from.at})
		return
	}
	if parked, _ := m.list(from); parked == nil { // it has its place: it is not refused
		m.g.tasks.Go(from.resume)
	}
}

// resume reads the store for a poll that goes on.
func (p *polling) resume() {
	answer, parked, err := p.run(p.g.background)
	if parked == nil {
		p.m.lock()
		defer p.m.unlock()
		p.m.conclude(p.resumed, outcome{answer, err})
	}
}

// query is the poll's as it goes on after a position.
func (p *Parked) query(after int64, wait time.Duration) Query {
	return Query{Caller: p.identity(), After: after, Limit: p.limit, Wait: wait, Resumes: true}
}

// identity is what there is to know of the caller to tell whether the token is revoked.
func (p *Parked) identity() token.Identity {
	return token.Identity{Subject: p.mailbox.user, TokenID: p.tokenID, Generation: p.generation}
}

// User is whose inbox it waits for.
func (p *Parked) User() string { return p.mailbox.user }

// Until is when the poll's time is over. Whoever watches it calls Expire then.
func (p *Parked) Until() time.Time { return p.mailbox.g.alarms.start.Add(p.until) }

// answer is a timeout where the poll stands.
func (p *Parked) answer() Answer { return Answer{Position: p.position, Skipped: p.skipped} }

// Watch hands the outcome to w, at once if it is there already.
func (p *Parked) Watch(w Waiter) {
	p.mailbox.lock()
	defer p.mailbox.unlock()
	p.waiter = w
	if early := p.early; early != nil {
		p.early = nil
		w.Completed(early.answer, early.err)
	}
}

// Expire completes the poll with a timeout, and reports whether it did: it may have been completed, or be going on and not wait
// yet.
func (p *Parked) Expire() bool {
	p.mailbox.lock()
	defer p.mailbox.unlock()
	return p.mailbox.finish(p, outcome{answer: p.answer()})
}

// Withdraw ends the poll without an outcome, because its client has gone. It reports whether there was none yet. One that goes
// on and does not wait yet is not withdrawn: it has an outcome soon.
func (p *Parked) Withdraw() bool {
	p.mailbox.lock()
	defer p.mailbox.unlock()
	p.withdrawn = true
	return p.mailbox.waiters.remove(p)
}

// Leave gives the poll's place up. It is to be called once, when the poll has been completed or withdrawn.
func (p *Parked) Leave() {
	p.mailbox.lock()
	p.mailbox.goOn(p)
	p.mailbox.unlock()
	p.mailbox.g.leave(p.mailbox)
	p.mailbox.g.release()
}

// signal is the Waiter of a goroutine that blocks.
type signal chan outcome

func (s signal) Completed(a Answer, err error) { s <- outcome{a, err} }

// Wait blocks until the poll is completed or ctx ends, and leaves.
func (p *Parked) Wait(ctx context.Context) (Answer, error) {
	answer, over, err := p.WaitFor(ctx, time.Until(p.Until()))
	if over {
		return answer, err
	}
	p.Expire()
	defer p.Leave()
	o := p.unwatch() // a timeout, or what came at the same instant
	return o.answer, o.err
}

// WaitFor is Wait for d at most, and reports whether the poll is over. If it is not, it is for the caller to go on: nobody watches it.
func (p *Parked) WaitFor(ctx context.Context, d time.Duration) (answer Answer, over bool, err error) {
	done := make(signal, 1)
	p.Watch(done)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case o := <-done:
		p.Leave()
		return o.answer, true, o.err
	case <-ctx.Done():
		p.Withdraw()
		p.Leave()
		return Answer{}, true, ctx.Err()
	case <-timer.C:
	}
	p.unwatch()
	select {
	case o := <-done: // it came at the same instant
		p.Leave()
		return o.answer, true, o.err
	default:
		return Answer{}, false, nil
	}
}

// unwatch has nobody told of the outcome, and returns it if it is there and nobody was.
func (p *Parked) unwatch() (early *outcome) {
	p.mailbox.lock()
	defer p.mailbox.unlock()
	early, p.early, p.waiter = p.early, nil, nil
	return early
}

// complete hands a run of events, the first of which follows where the waiting polls stand, to all of them. Those who
// are given nothing but empty positions wait on. m.mu is held.
func (m *mailbox) complete(run []delivery.Event, source string) {
	all := m.waiters.all()
	// common is the answer of those who have passed nothing before the run: mostly that is everybody.
	var common Answer
	commonLimit := 0
	for _, p := range all {
		at := common
		if p.skipped != nil || p.limit != commonLimit {
			at = p.answer()
			gather(&at, run, p.limit)
			if len(at.Objects) == 0 && len(at.Skipped) < maxSkipped {
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

// finish gives a poll its outcome if it waits, and reports whether it did. m.mu is held.
func (m *mailbox) finish(p *Parked, o outcome) bool {
	if !m.waiters.remove(p) {
		return false
	}
	m.conclude(p, o)
	return true
}

// conclude gives a poll its outcome. m.mu is held.
func (m *mailbox) conclude(p *Parked, o outcome) {
	m.g.count(o.answer, o.err)
	p.skipped = nil
	if p.resumes && !p.between {
		p.between = true
		m.waiters.between++
	}
	if p.waiter == nil {
		p.early = &o
		return
	}
	p.waiter.Completed(o.answer, o.err)
}

// revoke answers the polls whose token a record refuses.
func (m *mailbox) revoke(r revocation.Record) {
	m.lock()
	defer m.unlock()
	for _, p := range m.waiters.all() {
		if r.Refuses(p.identity()) {
			m.finish(p, outcome{err: ErrRevoked})
		}
	}
}

// release answers a poll with a timeout and asks its client to connect elsewhere.
func (m *mailbox) release(p *Parked) {
	m.lock()
	defer m.unlock()
	m.dismiss(p)
}

// dismiss is release with m.mu held.
func (m *mailbox) dismiss(p *Parked) {
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
