// Package memseq is a sequencer in the process's own memory, for deployments of one process.
package memseq

import (
	"context"
	"sync"

	"github.com/sealpost/sealpost/pkg/inbox/internal/recent"
)

// Sequencer implements inbox.Sequencer. When it holds too many counters, it forgets the least recently used ones. They are raised from the
// log's tail again, which costs one read each, batched with others. Its methods may be called concurrently.
type Sequencer struct {
	mu       sync.Mutex
	counters *recent.Map[string, int64]
}

// New makes a sequencer that keeps the counters of at least the last maxUsers users, and of at most twice as many. Memory grows with the
// users: some 70 bytes each.
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

// Incarnation implements inbox.Sequencer. It is constant: counters in memory do not go back.
func (s *Sequencer) Incarnation() uint64 { return 0 }
