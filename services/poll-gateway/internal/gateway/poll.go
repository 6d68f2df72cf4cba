package gateway

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/token"
)

// FromHead is the After of a Query that asks for what comes from now on.
const FromHead = -1

// maxRounds bounds how often one poll goes between mailbox and store without having anything to tell.
const maxRounds = 8

// maxSkipped bounds the empty positions that a poll gathers before it is answered with nothing but them.
const maxSkipped = 10_000

// Query is one poll.
type Query struct {
	Caller token.Identity
	After  int64
	Limit  int
	Wait   time.Duration
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
}

// Object is a message as JSON, and where it stands.
type Object struct {
	Position int64
	JSON     []byte
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
	answer, parked, err = g.poll(ctx, m, q)
	if parked == nil {
		g.count(answer, err)
	}
	return answer, parked, err
}

func (g *Gateway) poll(ctx context.Context, m *mailbox, q Query) (Answer, *Parked, error) {
	until := g.alarms.now() + q.Wait
	m.warm(ctx)
	if q.After == FromHead {
		head, err := g.inbox.Head(ctx, m.user)
		if err != nil {
			return Answer{}, nil, err
		}
		q.After = head
	}
	at := Answer{Position: q.After}
	for range maxRounds {
		if m.fromRing(&at, q.Limit) {
			return at, nil, nil
		}
		p, err := m.park(q, at, until)
		if p != nil || err != nil {
			return Answer{}, p, err
		}
		done, err := g.fromStore(ctx, m, &at, q.Limit)
		if err != nil || done {
			return at, nil, err
		}
	}
	return at, nil, nil
}

// fromStore goes on from the store, and reports whether at is then an answer. If it is not, at stands where everything
// that is decided ends, and the mailbox knows that.
func (g *Gateway) fromStore(ctx context.Context, m *mailbox, at *Answer, limit int) (done bool, err error) {
	before := m.disruptions()
	batch, err := g.read(ctx, m.user, at.Position, limit)
	if err != nil {
		return false, err
	}
	if batch.PastHead {
		*at = Answer{Reset: true}
		return true, nil
	}
	if err := g.take(ctx, at, batch); err != nil {
		return false, err
	}
	if len(at.Objects) > 0 {
		g.metrics.completions.WithLabelValues("store").Inc()
		return true, nil
	}
	if len(at.Skipped) >= maxSkipped {
		return true, nil
	}
	if batch.More {
		return false, nil
	}
	if wait := m.learn(batch.Next, before); wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	if batch.Blocked {
		m.scheduleIn(firstRecheck)
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
	case err != nil:
		return
	case a.Reset:
		kind = "reset"
	case len(a.Objects) > 0 || len(a.Skipped) >= maxSkipped:
		kind = "messages"
	}
	g.metrics.answers.WithLabelValues(kind).Inc()
}
