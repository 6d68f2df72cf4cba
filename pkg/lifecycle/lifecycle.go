// Package lifecycle stops what a process has started: last in, first out, with named steps, all within one timeout.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// Stack holds the steps of a shutdown. Push each step right after constructing what it stops. The zero value is not usable: see
// NewStack.
type Stack struct {
	log   *slog.Logger
	mu    sync.Mutex
	steps []step
}

type step struct {
	name string
	stop func(context.Context) error
}

// NewStack makes an empty stack that logs its steps to log.
func NewStack(log *slog.Logger) *Stack { return &Stack{log: log} }

// Push adds a step. It runs before the steps pushed earlier.
func (s *Stack) Push(name string, stop func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps = append(s.steps, step{name, stop})
}

// Go runs f in a goroutine and pushes a step that cancels its context and waits for it to return.
func (s *Stack) Go(name string, f func(context.Context)) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(ctx)
	}()
	s.Push(name, func(stopCtx context.Context) error {
		cancel()
		select {
		case <-done:
			return nil
		case <-stopCtx.Done():
			return stopCtx.Err()
		}
	})
}

// Stop runs all steps, even if some fail, and returns the errors. A second call does nothing.
func (s *Stack) Stop(ctx context.Context) error {
	s.mu.Lock()
	steps := s.steps
	s.steps = nil
	s.mu.Unlock()
	var faults []error
	for i := len(steps) - 1; i >= 0; i-- {
		began := time.Now()
		if err := steps[i].stop(ctx); err != nil {
			faults = append(faults, fmt.Errorf("stop %s: %w", steps[i].name, err))
		}
		s.log.Debug("stopped", "step", steps[i].name, "seconds", time.Since(began).Seconds())
	}
	return errors.Join(faults...)
}
