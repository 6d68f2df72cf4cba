// Package redisseqtest is a Redis in memory, as far as the sequencer goes: what the script does, in Go. A test holds the two to the
// same answers, so that simulations of lost data and failovers exercise the real sequencer.
package redisseqtest

import (
	"context"
	"crypto/rand"
	"maps"
	"sync"

	"github.com/sealpost/sealpost/pkg/inbox/redisseq"
)

// Server is one Redis, a master at first. It implements redisseq.Engine for deployments of one; of several, give each the runs of its
// shards. Its methods may be called concurrently.
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

// Promote makes the server a master, with the data that it has.
func (s *Server) Promote() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by = redisseq.Server{Replication: rand.Text()}
}

// Restart is the start of a server, which has the data that it finds, and is a master.
func (s *Server) Restart(data Data) {
	s.Promote()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters = maps.Clone(data.counters)
}

// Follow makes the server a replica which has the data of a master as they were.
func (s *Server) Follow(data Data) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.by, s.counters = redisseq.Server{Replication: data.of, Replica: true}, maps.Clone(data.counters)
}

// Data are those of a server at one moment.
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

// By is what the server says of itself.
func (s *Server) By() redisseq.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by
}

// Lose removes counters: those of the users, or all.
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
	if s.by.Replica { // the real one refuses to write
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
