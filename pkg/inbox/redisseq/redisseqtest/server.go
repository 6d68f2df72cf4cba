// Package redisseqtest is an in-memory Redis for the sequencer: the script in Go. A test checks that both give the same answers, so
// simulations of lost data and failovers exercise the real sequencer.
package redisseqtest

import (
	"context"
	"crypto/rand"
	"maps"
	"sync"

	"github.com/sealpost/sealpost/pkg/inbox/redisseq"
)

// Server is one Redis server, initially a master. It implements redisseq.Engine for a single server; with several, route each the runs of
// its shards. Its methods may be called concurrently.
type Server struct {
	mu       sync.Mutex
	by       redisseq.Server
	counters map[string]counter
}

type counter struct {
	last int64
	mark uint32
}

// NewServer makes an empty master.
func NewServer() *Server {
	s := &Server{counters: map[string]counter{}}
	s.Promote()
	return s
}

// Promote makes the server a master, with its current data.
func (s *Server) Promote() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = redisseq.Server{Replication: rand.Text()}
}

// Restart restarts the server as a master with the given data.
func (s *Server) Restart(data Data) {
	s.Promote()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters = maps.Clone(data.counters)
}

// Follow makes the server a replica with the given data of a master.
func (s *Server) Follow(data Data) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by, s.counters = redisseq.Server{Replication: data.of, Replica: true}, maps.Clone(data.counters)
}

// Data is a snapshot of a server's data.
type Data struct {
	of       string
	counters map[string]counter
}

// Data returns a copy of the server's data.
func (s *Server) Data() Data {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Data{s.by.Replication, maps.Clone(s.counters)}
}

// By returns how the server identifies itself.
func (s *Server) By() redisseq.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by
}

// Lose removes the counters of users, or all without arguments.
func (s *Server) Lose(users ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(users) == 0 {
		clear(s.counters)
	}
	for _, user := range users {
		delete(s.counters, user)
	}
}

// Run implements redisseq.Engine.
func (s *Server) Run(_ context.Context, runs []redisseq.Run) ([]redisseq.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answers := make([]redisseq.Answer, len(runs))
	for i, run := range runs {
		a := redisseq.Answer{By: s.by, Last: make([]int64, len(run.Counters)), Marks: make([]uint32, len(run.Counters))}
		for k, c := range run.Counters {
			a.Last[k], a.Marks[k] = s.run(run, c)
		}
		answers[i] = a
	}
	return answers, nil
}

func (s *Server) run(run redisseq.Run, c redisseq.Counter) (last int64, mark uint32) {
	if s.by.Replica { // a real replica refuses writes
		return 0, 0
	}
	at, there := s.counters[c.User]
	if !there {
		at.mark = run.Mark
	}
	switch {
	case c.Tail >= 0:
		at.last = max(at.last, c.Tail) + c.Count
		if at.mark == c.Settled {
			at.mark = 0
		}
	case at.mark == 0 && s.by == run.Believed:
		at.last += c.Count
	default:
		return 0, 0
	}
	s.counters[c.User] = at
	return at.last, at.mark
}
