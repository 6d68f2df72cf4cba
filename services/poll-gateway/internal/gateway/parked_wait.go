package gateway

import (
	"context"
	"time"
)

// signal is the Observer of a blocked goroutine.
type signal chan outcome

func (s signal) Completed(a Answer, err error) { s <- outcome{a, err} }

// Wait blocks until the poll is completed or ctx ends. It calls Leave.
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

// WaitFor waits for at most d, and reports whether the poll is over. If so it has called Leave; if not, nobody watches the poll and the
// caller must.
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
	case o := <-done: // came at the same instant
		p.Leave()
		return o.answer, true, o.err
	default:
		return Answer{}, false, nil
	}
}

// unwatch removes the Observer, and returns the outcome if it is there and no Observer got it.
func (p *Parked) unwatch() (early *outcome) {
	p.mailbox.lock()
	defer p.mailbox.unlock()
	early, p.early, p.observer = p.early, nil, nil
	return early
}
