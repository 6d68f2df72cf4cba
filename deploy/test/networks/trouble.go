package networks

import (
	"context"
	"syscall"
	"time"
)

// Trouble comes over a cell while messages are sent. When it returns, nothing of it is left. Only here times are what is tested, and waited
// for.
type Trouble func(ctx context.Context, s Scene) error

// Scene is what a trouble can change.
type Scene struct {
	Link   Link
	client *process
}

// wait waits for a time.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Silent makes directions silent for a time.
func Silent(towardsClient, towardsServer bool, d time.Duration) Trouble {
	return func(ctx context.Context, s Scene) error {
		if err := s.Link.Silence(towardsClient, towardsServer); err != nil {
			return err
		}
		if err := wait(ctx, d); err != nil {
			return err
		}
		return s.Link.Silence(false, false)
	}
}

// Moves gives the client other addresses, with a time between them in which it may find its feet.
func Moves(times int, between time.Duration) Trouble {
	return func(ctx context.Context, s Scene) error {
		for range times {
			if err := s.Link.Readdress(); err != nil {
				return err
			}
			if err := wait(ctx, between); err != nil {
				return err
			}
		}
		return nil
	}
}

// Sleeps stops the client's processes for a time, as a laptop does that is closed: its connections stay, and it does not answer.
func Sleeps(d time.Duration) Trouble {
	return func(ctx context.Context, s Scene) error {
		if err := s.client.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		if err := wait(ctx, d); err != nil {
			return err
		}
		return s.client.signal(syscall.SIGCONT)
	}
}

// Lasts is no trouble, but sends go on for so long: until a proxy has done what it does after a time.
func Lasts(d time.Duration) Trouble {
	return func(ctx context.Context, _ Scene) error { return wait(ctx, d) }
}
