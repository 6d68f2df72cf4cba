package gateway

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/token"
)

// FromHead as the After of a Query asks for what comes from now on.
const FromHead = -1

// pastHeadTimeout is how long the gateway repeats the read for a poll whose position is beyond the end of the log.
const pastHeadTimeout = time.Second

// Query is one poll.
type Query struct {
	Caller token.Identity
	After  int64
	Limit  int
	Wait   time.Duration
	// Network is where the poll comes from.
	Network admission.Network
	// KeepsPlace: After is a session cursor, which only a new epoch resets. The poll is never answered with a Reset.
	KeepsPlace bool
	// Resumes: a poll that has waited may continue with Parked.Resume. It keeps its place until Leave.
	Resumes bool
}

// Answer is the answer to a poll. With neither Objects nor Reset it is a timeout.
type Answer struct {
	// Objects are the messages, oldest first.
	Objects []Object
	// Skipped are the empty positions after the Query's and up to Position.
	Skipped []int64
	// Position is where to continue.
	Position int64
	// Reset means that the Query's position is from another epoch of the log.
	Reset bool
	// Close asks the client to reconnect, to another node.
	Close bool
	// Shared is common to all polls with this same answer, if there are several; else nil.
	Shared *Shared
}

// Form is an encoding of an answer.
type Form int

// The forms.
const (
	PollForm Form = iota
	StreamForm
	forms
)

// Shared caches the encodings of an answer that many polls get. Each is made once.
type Shared struct{ texts [forms]sharedText }

type sharedText struct {
	once  sync.Once
	epoch string
	text  []byte
}

// Text returns the encoding in a form, read-only. The first caller makes it, for one epoch; a caller with another epoch makes its own. It
// is safe for concurrent use.
func (s *Shared) Text(f Form, epoch string, make func() []byte) []byte {
	t := &s.texts[f]
	t.once.Do(func() { t.epoch, t.text = epoch, make() })
	if t.epoch != epoch {
		return make()
	}
	return t.text
}

// Object is a message as JSON, and its position.
type Object struct {
	Position int64
	JSON     delivery.JSON
	// Trace is the trace of the send, if it is sampled and came with an event.
	Trace *trace.SpanContext
}

// Poll returns what follows a position as soon as there is something, or a timeout after the query's wait.
func (g *Gateway) Poll(ctx context.Context, q Query) (Answer, error) {
	answer, parked, err := g.Start(ctx, q)
	if parked != nil {
		return parked.Wait(ctx)
	}
	return answer, err
}

// Start begins a poll. If the poll has to wait, parked is not nil, and the caller has to watch it.
func (g *Gateway) Start(ctx context.Context, q Query) (answer Answer, parked *Parked, err error) {
	who := admission.Holder{User: q.Caller.Subject, Network: q.Network}
	place, err := g.admit(ctx, who)
	if err != nil {
		return Answer{}, nil, err
	}
	m, err := g.enter(who)
	if err != nil {
		g.release(place)
		return Answer{}, nil, err
	}
	defer func() {
		if parked == nil {
			g.leave(m)
			g.release(place)
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer, parked, err = (&polling{g: g, m: m, q: q, place: place, began: g.alarms.now()}).run(ctx)
	if parked == nil {
		g.count(answer, err)
	}
	return answer, parked, err
}

// run reads until there is an answer or the poll has to wait.
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
		// A read that finds nothing tells the mailbox where the poll stands, and the poll parks. If it cannot park after a second read, the
		// reads were stale, or positions below the mailbox's head are undecided. The poll must neither spin nor be answered with an early
		// timeout.
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
	place *admission.Holding
	began time.Duration
	at    Answer
	// hasRead: it has read the store.
	hasRead bool
	// past: the last read ended below the poll's position.
	past bool
	// resumed is the poll that waited before and is to wait again; nil for a new poll.
	resumed *Parked
}

// until is when the poll's time is over.
func (p *polling) until() time.Duration { return p.began + p.q.Wait }

// start finds the position at which the poll begins.
func (p *polling) start(ctx context.Context) (err error) {
	p.at.Position = p.q.After
	if p.q.After != FromHead {
		return nil
	}
	// The mailbox may not have heard of the last messages yet.
	p.at.Position, err = p.g.inbox.Head(ctx, p.m.user, max(0, p.m.view().head))
	return err
}

// fromStore reads the store, and reports whether p.at is then an answer. If not, and nothing more can be read at once, it has told the
// mailbox where the decided positions end.
func (p *polling) fromStore(ctx context.Context) (done bool, err error) {
	before := p.m.view()
	batch, err := p.g.read(ctx, admission.Holder{User: p.m.user, Network: p.q.Network}, p.at.Position, p.q.Limit)
	if err != nil {
		return false, err
	}
	p.hasRead = true
	if p.past = batch.PastHead; p.past {
		return p.pastHead()
	}
	if err := p.g.addBatch(ctx, &p.at, batch); err != nil {
		return false, err
	}
	if len(p.at.Objects) > 0 {
		p.g.metrics.completions.WithLabelValues("store").Inc()
		return true, nil
	}
	if len(p.at.Skipped) >= inbox.MaxSkipped {
		return true, nil
	}
	if batch.More {
		return false, nil
	}
	if wait := p.m.confirmRead(batch.Next, batch.Blocked, before); wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return false, nil
}

// pastHead handles a read that ended below the poll's position. A store that fails over may be behind for a moment, so the read is
// repeated. After pastHeadTimeout the position is taken to be from another epoch; a session cursor gets ErrStale.
func (p *polling) pastHead() (done bool, err error) {
	switch {
	case p.g.alarms.now()-p.began < pastHeadTimeout:
		return false, nil
	case p.q.KeepsPlace:
		p.g.metrics.staleReads.Inc() // only here: any other client may ask for a position that the log never held
		return false, ErrStale
	}
	p.at = Answer{Reset: true}
	return true, nil
}

// pause waits before the next read of the store, and reports whether the poll's time is over.
func (p *polling) pause(ctx context.Context, d time.Duration) (over bool, err error) {
	g := p.g
	left := p.until() - g.alarms.now()
	if p.past { // no answer before it is known whether it is a reset
		left = p.began + pastHeadTimeout - g.alarms.now()
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

// addBatch adds a batch to an answer.
func (g *Gateway) addBatch(ctx context.Context, at *Answer, batch inbox.Batch) error {
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
	case len(a.Objects) > 0 || len(a.Skipped) >= inbox.MaxSkipped:
		kind = "messages"
	}
	g.metrics.answers.WithLabelValues(kind).Inc()
}
