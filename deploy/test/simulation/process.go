package simulation

import (
	"context"
	"errors"
	"time"
)

// errDead is the result of every call of a dead process, so that its goroutines end.
var errDead = errors.New("simulation: this process is dead")

// process is one life of a node, as the engines see it. When it is dead, its goroutines have no more effect.
type process struct {
	w *world
	// id is unique; place is that of its node.
	id, place int
	dead      chan struct{}
	// pausedUntil is when a pause ends.
	pausedUntil time.Time
	// calls counts its calls by operation and key.
	calls map[uint64]uint64
}

func (w *world) newProcess(place int) *process {
	w.lives++
	return &process{w: w, id: w.lives, place: place, dead: make(chan struct{}), calls: map[uint64]uint64{}}
}

func (p *process) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// die ends the process.
func (p *process) die() {
	if !p.isDead() {
		close(p.dead)
	}
}

// now is the process's clock.
func (p *process) now() time.Time { return time.Now().Add(p.w.offsets[p.place]) }

// rng returns the rng for one call, seeded with the operation, the key and the number of earlier calls alike.
func (p *process) rng(operation, key string) *rng {
	h := mix(textHash(operation), textHash(key))
	p.w.statsMu.Lock()
	defer p.w.statsMu.Unlock()
	p.calls[h]++
	return rngOf(p.w.plan.Seed, "call", uint64(p.id), h, p.calls[h])
}

// await blocks a caller for a while; while the process is paused, until it goes on.
func (p *process) await(ctx context.Context, d time.Duration) error {
	if p.isDead() {
		return errDead
	}
	timer := time.NewTimer(p.w.unique(d))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		if err := p.thaw(); err != nil {
			return err
		}
		return ctx.Err()
	case <-p.dead:
		return errDead
	}
	return p.thaw()
}

// thaw waits while the process is paused. The end of a context does not interrupt it.
func (p *process) thaw() error {
	for time.Now().Before(p.pausedUntil) {
		timer := time.NewTimer(p.w.unique(time.Until(p.pausedUntil)))
		select {
		case <-timer.C:
		case <-p.dead:
			timer.Stop()
			return errDead
		}
	}
	return nil
}

// hang blocks until ctx ends, the process dies, or most is over. It always returns an error.
func (p *process) hang(ctx context.Context, most time.Duration) error {
	if err := p.await(ctx, most); err != nil {
		return err
	}
	return context.DeadlineExceeded
}
