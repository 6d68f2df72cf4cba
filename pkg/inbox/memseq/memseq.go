// Package memseq is a sequencer in the process's own memory, for where there is one process.
package memseq

import (
	"context"
	"sync"

	"github.com/sealpost/sealpost/pkg/inbox/internal/recent"
)

// Sequencer implements inbox.Sequencer. It forgets the counters that were used longest ago when it holds too many:
// they are set from the log's tail again, which costs one read each, together with others.
type Sequencer struct {
	mu       sync.Mutex
	counters *recent.Map[string, int64]
}

// New makes a sequencer that keeps the counters of the last maxUsers users at least, and of twice as many at most. It takes
// memory as they come: some 70 bytes each.
func New(maxUsers int) *Sequencer { return &Sequencer{counters: recent.New[string, int64](maxUsers)} }

// Next implements inbox.Sequencer.
func (s *Sequencer) Next(_ context.Context, users []string) ([]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	positions := make([]int64, len(users))
	for i, user := range users {
		if last, ok := s.counters.Get(user); ok {
			positions[i] = last + 1
			s.counters.Put(user, last+1)
		}
	}
	return positions, nil
}

// Raise implements inbox.Sequencer.
func (s *Sequencer) Raise(_ context.Context, floors map[string]int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for user, floor := range floors {
		if last, ok := s.counters.Get(user); !ok || last < floor {
			s.counters.Put(user, floor)
		}
	}
	return nil
}

// Incarnation implements inbox.Sequencer. What is in memory does not go back.
func (s *Sequencer) Incarnation() uint64 { return 0 }
