package simulation

import (
	"context"
	"errors"
	"time"
)

// errDead is what a dead process's calls come back with, for its goroutines to end.
var errDead = errors.New("simulation: this process is dead")

// process is one life of a node as the engines see it: where its calls come from. When it is dead, nothing that its goroutines still
// do has an effect.
type process struct {
	w *world
	// id tells it from all others, place is the node's that it is a life of.
	id, place int
	dead      chan struct{}
	// pausedUntil is when it goes on.
	pausedUntil time.Time
	// calls counts its calls by what they are.
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

// dice are for one call, made of what it is and how many alike there were before.
func (p *process) dice(operation, key string) *dice {
	h := mix(textHash(operation), textHash(key))
	p.w.books.Lock()
	defer p.w.books.Unlock()
	p.calls[h]++
	return diceOf(p.w.plan.Seed, "call", uint64(p.id), h, p.calls[h])
}

// await parks a caller for a while; while the process is paused, until it goes on.
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

// thaw waits while the process is paused. Its contexts' ends do not reach it meanwhile.
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

// until parks a caller until ctx ends, or for most.
func (p *process) hang(ctx context.Context, most time.Duration) error {
	if err := p.await(ctx, most); err != nil {
		return err
	}
	return context.DeadlineExceeded
}
