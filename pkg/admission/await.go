package admission

import (
	"context"
	"time"
)

const (
	// mostWaiting is how many users may wait for a Pool at once.
	mostWaiting = 256
	// recheck is how often those who wait look whether somebody has become slow.
	recheck = 20 * time.Millisecond
)

// Await is Take, but a holder of nothing waits for up to most until there is room. One request of a user may wait, and so many of all.
func (p *Pool) Await(ctx context.Context, who Holder, n int64, most time.Duration) *Holding {
	h := p.take(who, n)
	if h != nil {
		return h
	}
	if p.enqueue(who.User) {
		h = p.wait(ctx, who, n, most)
		p.dequeue(who.User)
	}
	if h == nil {
		p.count.refused.Inc()
	}
	return h
}

func (p *Pool) wait(ctx context.Context, who Holder, n int64, most time.Duration) *Holding {
	over, again := time.NewTimer(most), time.NewTicker(recheck)
	defer over.Stop()
	defer again.Stop()
	for {
		select {
		case <-again.C:
			if h := p.take(who, n); h != nil {
				return h
			}
		case <-over.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// enqueue reports whether a request of a user may wait.
func (p *Pool) enqueue(user string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, waits := p.waiting[user]; waits || p.users[user] != nil || len(p.waiting) >= mostWaiting {
		return false
	}
	p.waiting[user] = struct{}{}
	return true
}

func (p *Pool) dequeue(user string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, user)
}
