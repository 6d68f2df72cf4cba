// Package memseq is a sequencer in the process's own memory, for where there is one process.
package memseq

import (
	"context"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Sequencer implements inbox.Sequencer. It forgets the counters that were used longest ago when it holds too many:
// they are set from the log's tail again.
type Sequencer struct {
	mu       sync.Mutex
	counters *simplelru.LRU[string, int64]
}

// New makes a sequencer that holds up to maxUsers counters.
func New(maxUsers int) *Sequencer {
	counters, err := simplelru.NewLRU[string, int64](maxUsers, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &Sequencer{counters: counters}
}

// Next implements inbox.Sequencer.
func (s *Sequencer) Next(_ context.Context, users []string) ([]int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	positions := make([]int64, len(users))
	for i, user := range users {
		if last, ok := s.counters.Get(user); ok {
			positions[i] = last + 1
			s.counters.Add(user, last+1)
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
			s.counters.Add(user, floor)
		}
	}
	return nil
}

// Incarnation implements inbox.Sequencer. What is in memory does not go back.
func (s *Sequencer) Incarnation() uint64 { return 0 }
