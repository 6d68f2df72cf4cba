package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/token"
)

// FromHead is the After of a Query that asks for what comes from now on.
const FromHead = -1

// stalePatience is for how long a poll whose position is beyond the end of the log asks again before it is told so.
const stalePatience = time.Second

// maxSkipped bounds the empty positions that a poll gathers before it is answered with nothing but them.
const maxSkipped = 10_000

// Query is one poll.
type Query struct {
	Caller token.Identity
	After  int64
	Limit  int
	Wait   time.Duration
	// KeepsPlace: After is a session's, which nothing but a new epoch sets back. It is never answered with a Reset.
	KeepsPlace bool
	// Resumes: a poll that has waited may go on, with Parked.Resume. Until it leaves, its place is not given to another.
	Resumes bool
}

// Answer is what a poll is answered with. With neither Objects nor Reset it is a timeout.
type Answer struct {
	// Objects are the messages, oldest first.
	Objects []Object
	// Skipped are the positions after the Query's and up to Position that hold nothing.
	Skipped []int64
	// Position is the one to go on from.
	Position int64
	// Reset means that the Query's position is from another history of the log.
	Reset bool
	// Close asks the client to connect anew, elsewhere.
	Close bool
	// Shared is the same for all whose answer is the same, and who are many; else nil.
	Shared *Shared
}

// Form is one of the texts that are made of an answer.
type Form int

// The forms.
const (
	PollForm Form = iota
	StreamForm
	forms
)

// Shared is the texts of an answer that many are given, each made once.
type Shared struct{ texts [forms]sharedText }

type sharedText struct {
	once  sync.Once
	epoch string
	text  []byte
}

// Text returns the text in a form, which nobody may change. The first to ask makes it, for an epoch of the log; others make their own.
func (s *Shared) Text(f Form, epoch string, make func() []byte) []byte {
	t := &s.texts[f]
	t.once.Do(func() { t.epoch, t.text = epoch, make() })
	if t.epoch != epoch {
		return make()
	}
	return t.text
}

// Object is a message as JSON, and where it stands.
type Object struct {
	Position int64
	JSON     delivery.JSON
	// Trace is that of the send, if it is sampled and an event told of it.
	Trace *trace.SpanContext
}

// Poll returns what stands after a position as soon as there is something, or a timeout after the query's wait.
func (g *Gateway) Poll(ctx context.Context, q Query) (Answer, error) {
	answer, parked, err := g.Start(ctx, q)
	if parked != nil {
		return parked.Wait(ctx)
	}
	return answer, err
}

// Start begins a poll. If it has to wait, parked is not nil: whoever called Start watches it.
func (g *Gateway) Start(ctx context.Context, q Query) (answer Answer, parked *Parked, err error) {
	if err := g.admit(ctx); err != nil {
		return Answer{}, nil, err
	}
	m, err := g.enter(q.Caller.Subject)
	if err != nil {
		g.release()
		return Answer{}, nil, err
	}
	defer func() {
		if parked == nil {
			g.leave(m)
			g.release()
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer, parked, err = (&polling{g: g, m: m, q: q, began: g.alarms.now()}).run(ctx)
	if parked == nil {
		g.count(answer, err)
	}
	return answer, parked, err
}

// run goes on until there is an answer, or nothing is left but to wait.
func (p *polling) run(ctx context.Context) (Answer, *Parked, error) {
	m, q := p.m, p.q
	m.warm(ctx)
	if err := p.start(ctx); err != nil {
		return Answer{}, nil, err
	}
	backoff := firstRecheck
	for idle := 0; ; {
		if m.fromRing(&p.at, q.Limit) {
			return p.at, nil, nil
		}
		parked, err := m.park(p)
		if parked != nil || err != nil {
			return Answer{}, parked, err
		}
		// A read that brings nothing tells the mailbox where the poll stands, and the poll parks. If it cannot, though it has read again, the
		// reads were stale, or positions are not decided below the mailbox's head: the poll must neither spin nor be told that its time is over.
		if idle == 2 {
			if over, err := p.pause(ctx, backoff); over || err != nil {
				return p.at, nil, err
			}
			idle, backoff = 1, min(2*backoff, lastRecheck)
			continue
		}
		before := p.at.Position
		done, err := p.fromStore(ctx)
		if err != nil || done {
			return p.at, nil, err
		}
		if idle++; p.at.Position > before {
			idle = 0
		}
	}
}

// polling is a poll that does not wait in a mailbox yet.
type polling struct {
	g     *Gateway
	m     *mailbox
	q     Query
	began time.Duration
	at    Answer
	// hasRead: the store was read.
	hasRead bool
	// past: the last read ended below the poll's position.
	past bool
	// resumed has waited before, and is to wait again; nil for a poll that has not.
	resumed *Parked
}

// until is when the poll's time is over.
func (p *polling) until() time.Duration { return p.began + p.q.Wait }

// start finds the position that the poll begins at.
func (p *polling) start(ctx context.Context) (err error) {
	p.at.Position = p.q.After
	if p.q.After != FromHead {
		return nil
	}
	// The mailbox may not have heard of the last messages yet.
	p.at.Position, err = p.g.inbox.Head(ctx, p.m.user)
	return err
}

// fromStore goes on from the store, and reports whether p.at is then an answer. If it is not, the mailbox has been told
// where everything that is decided ends.
func (p *polling) fromStore(ctx context.Context) (done bool, err error) {
	before := p.m.view()
	batch, err := p.g.read(ctx, p.m.user, p.at.Position, p.q.Limit)
	if err != nil {
		return false, err
	}
	p.hasRead = true
	if p.past = batch.PastHead; p.past {
		return p.pastHead()
	}
	if err := p.g.take(ctx, &p.at, batch); err != nil {
		return false, err
	}
	if len(p.at.Objects) > 0 {
		p.g.metrics.completions.WithLabelValues("store").Inc()
		return true, nil
	}
	if len(p.at.Skipped) >= maxSkipped {
		return true, nil
	}
	if batch.More {
		return false, nil
	}
	if wait := p.m.learn(batch.Next, batch.Blocked, before); wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return false, nil
}

// pastHead is for a read that ended below the poll's position. A store that fails over may be behind for a moment, so it is
// repeated for a while. Then the position is of another history of the log.
func (p *polling) pastHead() (done bool, err error) {
	switch {
	case p.g.alarms.now()-p.began < stalePatience:
		return false, nil
	case p.q.KeepsPlace:
		p.g.metrics.staleReads.Inc() // of other positions it is not known whether the log held them: clients may ask for any
		return false, ErrStale
	}
	p.at = Answer{Reset: true}
	return true, nil
}

// pause waits before the store is read again, and reports whether the poll's time is over.
func (p *polling) pause(ctx context.Context, d time.Duration) (over bool, err error) {
	g := p.g
	left := p.until() - g.alarms.now()
	if p.past { // no answer before it is known which
		left = p.began + stalePatience - g.alarms.now()
	}
	if left <= 0 {
		return true, nil
	}
	timer := time.NewTimer(min(d, left))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.draining:
		p.at.Close = true
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if g.cfg.Revoked(p.q.Caller) {
		return false, ErrRevoked
	}
	return false, nil
}

// take adds a batch to an answer.
func (g *Gateway) take(ctx context.Context, at *Answer, batch inbox.Batch) error {
	for _, item := range batch.Items {
		event, err := g.event(ctx, item)
		if err != nil {
			return err
		}
		at.Objects = append(at.Objects, Object{event.Position, event.Object, event.Trace})
	}
	at.Skipped = append(at.Skipped, batch.Skipped...)
	at.Position = batch.Next
	return nil
}

func (g *Gateway) count(a Answer, err error) {
	kind := "timeout"
	switch {
	case errors.Is(err, ErrRevoked):
		kind = "revoked"
	case err != nil:
		return
	case a.Reset:
		kind = "reset"
	case len(a.Objects) > 0 || len(a.Skipped) >= maxSkipped:
		kind = "messages"
	}
	g.metrics.answers.WithLabelValues(kind).Inc()
}
