package gateway

import (
	"context"
	"time"

	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/revocation"
)

// parked is a poll that waits. It is the only thing that knows how one does: here by a goroutine that blocks on done.
type parked struct {
	mailbox *mailbox
	query   Query
	at      Answer
	// done takes the one outcome.
	done chan outcome
}

type outcome struct {
	answer Answer
	err    error
}

// park makes a poll wait, if it stands at the head and the head can be trusted; else it returns nil: the store has to
// be asked.
func (m *mailbox) park(q Query, at Answer) (*parked, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.trusted() || at.Position != m.head {
		return nil, nil
	}
	if len(m.polls) >= m.g.cfg.MaxPollsPerUser {
		m.g.metrics.refused.WithLabelValues("user_limit").Inc()
		return nil, ErrTooManyPolls
	}
	p := &parked{mailbox: m, query: q, at: at, done: make(chan outcome, 1)}
	if m.g.isDraining() {
		p.at.Close = true
		p.done <- outcome{answer: p.at}
		return p, nil
	}
	m.polls[p] = struct{}{}
	m.schedule(m.g.period())
	// A revocation that came before this line is seen here; one that comes later finds the poll.
	if m.g.cfg.Revoked(q.Caller) {
		m.finish(p, outcome{err: ErrRevoked})
	}
	return p, nil
}

// await waits for a parked poll's outcome, its time or its client's going away.
func (m *mailbox) await(ctx context.Context, p *parked, timeout <-chan time.Time) (Answer, error) {
	select {
	case o := <-p.done:
		return o.answer, o.err
	case <-ctx.Done():
		m.withdraw(p)
		return Answer{}, ctx.Err()
	case <-timeout:
	}
	m.withdraw(p)
	select {
	case o := <-p.done: // completed at the same instant
		return o.answer, o.err
	default:
		return p.at, nil
	}
}

func (m *mailbox) withdraw(p *parked) {
	m.mu.Lock()
	delete(m.polls, p)
	m.mu.Unlock()
}

// complete hands a run of events, the first of which follows where the waiting polls stand, to all of them. Those who
// are given nothing but empty positions wait on. m.mu is held.
func (m *mailbox) complete(run []delivery.Event, source string) {
	for p := range m.polls {
		gather(&p.at, run, p.query.Limit)
		if len(p.at.Objects) == 0 && len(p.at.Skipped) < maxSkipped {
			continue
		}
		m.finish(p, outcome{answer: p.at})
		m.g.metrics.completions.WithLabelValues(source).Inc()
		if at := run[0].AcceptedAt; !at.IsZero() {
			m.g.metrics.latency.Observe(max(0, time.Since(at).Seconds()))
		}
	}
}

// finish gives a poll its one outcome. m.mu is held.
func (m *mailbox) finish(p *parked, o outcome) {
	if _, waits := m.polls[p]; !waits {
		return
	}
	delete(m.polls, p)
	p.done <- o
}

// revoke answers the polls whose token a record refuses.
func (m *mailbox) revoke(r revocation.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for p := range m.polls {
		if r.Refuses(p.query.Caller) {
			m.g.metrics.answers.WithLabelValues("revoked").Inc()
			m.finish(p, outcome{err: ErrRevoked})
		}
	}
}

// reset answers all polls that the log has gone back behind where they stand, and starts anew. m.mu is held.
func (m *mailbox) reset() {
	for p := range m.polls {
		m.finish(p, outcome{answer: Answer{Reset: true}})
	}
	m.head, m.verified, m.ring, m.ringBytes = unknown, unknown, nil, 0
	clear(m.pending)
}

// release answers a poll with a timeout and asks its client to connect elsewhere.
func (m *mailbox) release(p *parked) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p.at.Close = true
	m.finish(p, outcome{answer: p.at})
}

func (m *mailbox) releaseAll() {
	for _, p := range m.waiting() {
		m.release(p)
	}
}

func (m *mailbox) waiting() []*parked {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]*parked, 0, len(m.polls))
	for p := range m.polls {
		list = append(list, p)
	}
	return list
}
