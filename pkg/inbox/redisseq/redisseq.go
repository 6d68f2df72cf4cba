// Package redisseq is the sequencer for several nodes: one counter in Redis for each inbox.
package redisseq

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/internal/recent"
)

const (
	// maxLifetime bounds how long a counter lives. After that it is raised from the log's tail, which costs one read.
	maxLifetime = 7 * 24 * time.Hour
	// maxRun bounds how many counters one run of the script handles. Redis is blocked while it runs.
	maxRun = 256
)

// Config is what a Sequencer needs.
type Config struct {
	// Retention is how long entries are kept. A counter lives for at most half of that. So if Redis goes back to an older copy of its data,
	// each counter in it has either expired or is so recent that the log still holds the positions it would hand out again.
	Retention time.Duration
	// Settling is how long a position that was handed out may be on its way into the log: the writers' WriteTimeout. It defaults to
	// inbox.DefaultWriteTimeout.
	Settling time.Duration
	// Cluster means that the client talks to a Redis Cluster.
	Cluster bool
}

func (c Config) lifetime() time.Duration {
	return max(time.Millisecond, min(c.Retention/2, maxLifetime))
}

// Run is one run of the script, on the counters of one shard.
type Run struct {
	// Shard is the slot in a Cluster; 0 with a single server.
	Shard int
	// Believed is the server from whose counters positions may be taken without a tail.
	Believed Server
	// Lifetime and Mark apply to counters that this run creates.
	Lifetime time.Duration
	Mark     uint32
	Counters []Counter
}

// Counter is what a run does to one counter.
type Counter struct {
	User string
	// Count is how many positions to take.
	Count int64
	// Tail is a tail of the inbox as read before; -1 if unknown.
	Tail int64
	// Settled is the mark that may be removed: old positions can no longer be under way, as of when the tail was read. 0 for none.
	Settled uint32
}

// Answer is the answer to a Run.
type Answer struct {
	By Server
	// Last is each counter's last position after those taken; 0 if a tail is needed first.
	Last []int64
	// Marks are the marks of the counters that came with a tail. 0 means that the counter is settled: no position that a lost counter
	// handed out before it can still be on its way.
	Marks []uint32
}

// Engine runs the script. Redis implements it, and so do simulations.
type Engine interface {
	// Run performs runs and answers each. After an error any of them may have been performed.
	Run(ctx context.Context, runs []Run) ([]Answer, error)
}

// Sequencer implements inbox.Counters. Its methods may be called concurrently.
//
// Counters may go back when Redis restarts with an older copy of its data, or when a replica that lags is promoted. They may also be lost
// and recreated from a tail while positions are still on their way. The sequencer detects the first two by which server answers (see
// Servers), and the third by marks in the counters themselves (see the script).
type Sequencer struct {
	cfg    Config
	engine Engine

	began time.Time
	mu    sync.Mutex
	// servers tracks whether counters may have gone back.
	servers *Servers
	// known holds a belief per user.
	known *recent.Users
}

// belief is what is known of a user's counter: the incarnation of its shard in which it is trusted or, while it is unsettled, its mark and
// when that was first seen, in ticks since the sequencer began, rounded up. 0 means nothing is known.
type belief uint64

const (
	unsettled belief = 1 << 63
	tick             = 100 * time.Millisecond
	// maxMark bounds marks, so that they fit between the flag and the ticks.
	maxMark = 1<<31 - 1
)

func unsettledSince(mark uint32, seen time.Duration) belief {
	return unsettled | belief(mark)<<32 | belief(uint32((seen+tick-1)/tick)) //nolint:gosec // in ten years
}

// in reports whether the counter is trusted in an incarnation.
func (b belief) in(incarnation uint64) bool { return b != 0 && uint64(b) == incarnation }

// mark returns the mark of an unsettled counter and when it was first seen.
func (b belief) mark() (mark uint32, seen time.Duration) {
	if b&unsettled == 0 {
		return 0, 0
	}
	return uint32(b>>32) & maxMark, time.Duration(uint32(b)) * tick //nolint:gosec // its two halves
}

var errReplica = errors.New("a replica answered")

// New makes a sequencer on Redis.
func New(client redis.UniversalClient, c Config) *Sequencer { return NewOn(Redis(client), c) }

// NewOn makes a sequencer on any engine.
func NewOn(e Engine, c Config) *Sequencer {
	if c.Settling == 0 {
		c.Settling = inbox.DefaultWriteTimeout
	}
	return &Sequencer{cfg: c, engine: e, began: time.Now(), servers: NewServers(time.Now), known: recent.NewUsers()}
}

// one merges the wants for one user.
type one struct {
	Counter
	shard int
	// incarnation is the one in which the counter is trusted; 0 if it is not.
	incarnation uint64
	readAt      time.Time
	wants       []int
}

// Take implements inbox.Counters. Wants for the same user are merged into one request.
func (s *Sequencer) Take(ctx context.Context, wants []inbox.Want) ([]int64, error) {
	users := s.gather(wants)
	positions := make([]int64, len(wants))
	if len(users) == 0 {
		return positions, nil
	}
	runs := s.plan(users)
	answers, err := s.engine.Run(ctx, runs)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, a := range answers {
		if a.By.Replica {
			return nil, errReplica
		}
		for k := range runs[i].Counters {
			u := users[k]
			if !s.judge(u, a.By, a.Marks[k]) || a.Last[k] == 0 {
				continue
			}
			for n, want := range u.wants {
				positions[want] = a.Last[k] - u.Count + int64(n) + 1
			}
		}
		users = users[len(runs[i].Counters):]
	}
	return positions, nil
}

// judge reports whether the positions taken for a user can be used, and updates what is known of its counter.
func (s *Sequencer) judge(u *one, by Server, mark uint32) bool {
	incarnation, since := s.servers.Saw(u.shard, by)
	switch {
	case u.Tail < 0:
		return incarnation == u.incarnation
	case mark != 0:
		if was, _ := belief(s.known.Get(u.User)).mark(); was != mark {
			s.known.Put(u.User, uint64(unsettledSince(mark, time.Since(s.began))))
		}
	case u.readAt.Sub(since) >= s.cfg.Settling:
		s.known.Put(u.User, incarnation)
	}
	return true
}

// gather merges wants by user. It leaves out those whose counter is not trusted and that bring no tail.
func (s *Sequencer) gather(wants []inbox.Want) (users []*one) {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := make(map[string]*one, len(wants))
	for i, w := range wants {
		u := of[w.User]
		if u == nil {
			u = &one{Counter: Counter{User: w.User, Tail: -1}, shard: s.shardOf(w.User)}
			if _, incarnation := s.servers.Last(u.shard); belief(s.known.Get(w.User)).in(incarnation) {
				u.incarnation = incarnation
			}
			of[w.User] = u
		}
		if u.incarnation == 0 && !w.HasTail() {
			continue
		}
		if w.HasTail() {
			u.Tail = max(u.Tail, w.Tail)
			if w.ReadAt.After(u.readAt) {
				u.readAt = w.ReadAt
			}
		}
		if !w.RaiseOnly {
			u.Count++
			u.wants = append(u.wants, i)
		}
	}
	for _, u := range of {
		if u.Tail >= 0 || u.Count > 0 {
			users = append(users, u)
		}
	}
	return users
}

// plan makes runs for users, in their order.
func (s *Sequencer) plan(users []*one) (runs []Run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := 1 + rand.Uint32N(maxMark)
	for _, u := range users {
		if mark, seen := belief(s.known.Get(u.User)).mark(); u.Tail >= 0 && u.readAt.Sub(s.began)-seen >= s.cfg.Settling {
			u.Settled = mark
		}
		if last := len(runs) - 1; last < 0 || s.cfg.Cluster || len(runs[last].Counters) == maxRun {
			by, _ := s.servers.Last(u.shard)
			runs = append(runs, Run{Shard: u.shard, Believed: by, Lifetime: s.cfg.lifetime(), Mark: fresh})
		}
		run := &runs[len(runs)-1]
		run.Counters = append(run.Counters, u.Counter)
	}
	return runs
}

func (s *Sequencer) shardOf(user string) int {
	if s.cfg.Cluster {
		return Slot(user)
	}
	return 0
}
