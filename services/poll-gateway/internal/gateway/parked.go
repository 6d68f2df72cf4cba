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
	// Completed is called once, unless the poll is withdrawn first. The user's mailbox is locked meanwhile: it must not
	// block, nor call the gateway.
	Completed(a Answer, err error)
}

// Parked is a poll that waits. Whoever completes it first wins: an event, the end of its time, a revocation, the draining
// of the node, or its client, who goes.
type Parked struct {
	mailbox *mailbox
	// index is where it stands in the mailbox's list; notListed once it is completed or withdrawn.
	index int
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
type waiters struct{ list []*Parked }

func (w *waiters) empty() bool { return len(w.list) == 0 }

func (w *waiters) add(p *Parked) {
	p.index = len(w.list)
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
// be asked. hasRead says that the poll has done that.
func (m *mailbox) park(q Query, at Answer, until time.Duration, hasRead bool) (*Parked, error) {
	m.lock()
	defer m.unlock()
	if !m.trusted() || at.Position != m.head || (q.Wait == 0 && !hasRead && m.uncertain()) {
		return nil, nil
	}
	if len(m.waiters.list) >= m.g.cfg.MaxPollsPerUser {
		m.g.metrics.refused.WithLabelValues("user_limit").Inc()
		return nil, ErrTooManyPolls
	}
	p := &Parked{
		mailbox: m, limit: q.Limit, until: until,
		position: at.Position, skipped: at.Skipped,
		tokenID: q.Caller.TokenID, generation: q.Caller.Generation,
	}
	m.waiters.add(p)
	if m.g.isDraining() {
		m.dismiss(p)
		return p, nil
	}
	m.checkSoon(m.g.period())
	if m.watchGap(); !hasRead && m.uncertain() {
		m.resyncSoon() // what was to be looked at again has not been, while nobody waited
	}
	// A revocation that came before this line is seen here; one that comes later finds the poll.
	if m.g.cfg.Revoked(q.Caller) {
		m.finish(p, outcome{err: ErrRevoked})
	}
	return p, nil
}

// Until is when the poll's time is over. Whoever watches it calls Expire then.
func (p *Parked) Until() time.Time { return p.mailbox.g.alarms.start.Add(p.until) }

// answer is a timeout where the poll stands.
func (p *Parked) answer() Answer { return Answer{Position: p.position, Skipped: p.skipped} }

// Watch hands the outcome to w, at once if it is there already.
func (p *Parked) Watch(w Waiter) {
	p.mailbox.lock()
	defer p.mailbox.unlock()
	if p.early == nil {
		p.waiter = w
		return
	}
	w.Completed(p.early.answer, p.early.err)
}

// Expire completes the poll with a timeout.
func (p *Parked) Expire() {
	p.mailbox.lock()
	defer p.mailbox.unlock()
	p.mailbox.finish(p, outcome{answer: p.answer()})
}

// Withdraw ends the poll without an outcome, because its client has gone. It reports whether there was none yet.
func (p *Parked) Withdraw() bool {
	p.mailbox.lock()
	defer p.mailbox.unlock()
	return p.mailbox.waiters.remove(p)
}

// Leave gives the poll's place up. It is to be called once, when the poll has been completed or withdrawn.
func (p *Parked) Leave() {
	p.mailbox.g.leave(p.mailbox)
	p.mailbox.g.release()
}

// signal is the Waiter of a goroutine that blocks.
type signal chan outcome

func (s signal) Completed(a Answer, err error) { s <- outcome{a, err} }

// Wait blocks until the poll is completed or ctx ends, and leaves.
func (p *Parked) Wait(ctx context.Context) (Answer, error) {
	defer p.Leave()
	done := make(signal, 1)
	p.Watch(done)
	timer := time.NewTimer(time.Until(p.Until()))
	defer timer.Stop()
	select {
	case o := <-done:
		return o.answer, o.err
	case <-ctx.Done():
		p.Withdraw()
		return Answer{}, ctx.Err()
	case <-timer.C:
	}
	p.Expire()
	o := <-done // a timeout, or what came at the same instant
	return o.answer, o.err
}

// complete hands a run of events, the first of which follows where the waiting polls stand, to all of them. Those who
// are given nothing but empty positions wait on. m.mu is held.
func (m *mailbox) complete(run []delivery.Event, source string) {
	for _, p := range m.waiters.all() {
		at := p.answer()
		gather(&at, run, p.limit)
		if len(at.Objects) == 0 && len(at.Skipped) < maxSkipped {
			p.position, p.skipped = at.Position, at.Skipped
			continue
		}
		m.finish(p, outcome{answer: at})
		m.g.metrics.completions.WithLabelValues(source).Inc()
		if at := run[0].AcceptedAt; !at.IsZero() {
			m.g.metrics.delivered(at, run[0].Trace)
		}
	}
}

// finish gives a poll its one outcome. m.mu is held.
func (m *mailbox) finish(p *Parked, o outcome) {
	if !m.waiters.remove(p) {
		return
	}
	m.g.count(o.answer, o.err)
	p.skipped = nil
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
		if r.Refuses(token.Identity{Subject: m.user, TokenID: p.tokenID, Generation: p.generation}) {
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
