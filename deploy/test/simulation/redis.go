package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealpost/sealpost/pkg/inbox/redisseq"
)

// redis is the simulated Redis, with counters and the stream of revocations: a master, which a replica that knows less may replace.
type redis struct {
	w      *world
	master *server
	// Until down, it refuses connections; until stalled, it takes commands and does not answer.
	down, stalled time.Time
	servers       int
}

// server is one Redis process.
type server struct {
	// id identifies the history of its data.
	id       int
	counters map[string]counter
	// past is the log of changes to the counters, for copies of older states.
	past []change
	// revocations is its stream of them, streams the past states of that.
	revocations stream
	streams     []streamState
}

type counter struct {
	at      int64
	mark    uint32
	expires time.Time
}

type change struct {
	when time.Time
	user string
	to   counter
}

func newRedis(w *world) *redis {
	r := &redis{w: w}
	r.master = r.newServer()
	return r
}

func (r *redis) newServer() *server {
	r.servers++
	return &server{id: r.servers, counters: map[string]counter{}}
}

// copyOf returns a new server with the data that s had at a time.
func (r *redis) copyOf(s *server, as time.Time) *server {
	c := r.newServer()
	for _, p := range s.past {
		if !p.when.After(as) {
			c.set(p.when, p.user, p.to)
		}
	}
	for _, p := range s.streams {
		if !p.when.After(as) {
			c.turn(p.when, p.stream)
		}
	}
	return c
}

func (s *server) set(now time.Time, user string, c counter) {
	s.counters[user] = c
	s.past = append(s.past, change{now, user, c})
}

func (s *server) get(now time.Time, user string) (counter, bool) {
	c, there := s.counters[user]
	return c, there && c.expires.After(now)
}

// flush deletes all data.
func (s *server) flush(now time.Time) {
	for user := range s.counters {
		s.set(now, user, counter{})
	}
	s.turn(now, stream{})
}

// counters is one process's client. It implements redisseq.Engine.
type counters struct {
	*process
	r *redis
	// on is the server that it is connected to.
	on *server
	// Until cut, Redis cannot be reached from here; until kept, the client stays on its server, whichever is master.
	cut, kept time.Time
}

var errRedis = errors.New("simulation: redis is away")

// connect connects to the master, unless the connection is kept.
func (c *counters) connect() {
	if c.on == nil || !time.Now().Before(c.kept) {
		c.on = c.r.master
	}
}

// do makes a round trip.
func (c *counters) do(ctx context.Context, operation, key string, change func(s *server)) error {
	command := func(s *server) {
		c.w.engineMu.Lock()
		defer c.w.engineMu.Unlock()
		change(s)
		c.w.note("process %d asks redis %d: %s %s, which has %d revocations of %d", c.id, s.id, operation, key, len(s.revocations.records), s.revocations.added)
	}
	d := c.rng(operation, key)
	if c.w.crashes(c.process, d) {
		return errDead
	}
	latency := func() time.Duration { return d.between(50*time.Microsecond, 2*time.Millisecond) }
	if err := c.await(ctx, latency()); err != nil {
		return err
	}
	now := time.Now()
	switch {
	case now.Before(c.cut):
		return errors.Join(errRedis, c.hang(ctx, 2*time.Second))
	case now.Before(c.r.down):
		return errRedis
	case now.Before(c.r.stalled):
		// The command is taken now and answered when the stall ends, if the caller still waits.
		for time.Now().Before(c.r.stalled) && ctx.Err() == nil {
			if err := c.hang(ctx, min(time.Second, time.Until(c.r.stalled))); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				return err
			}
		}
		if ctx.Err() != nil {
			on := c.r.master
			c.w.later(time.Until(c.r.stalled), func() { command(on) })
			return ctx.Err()
		}
	}
	c.connect()
	command(c.on)
	if d.hit(c.w.plan.Rates[rateTwice]) {
		c.w.count(rateTwice)
		if err := c.await(ctx, latency()); err != nil {
			return err
		}
		c.connect()
		command(c.on)
	}
	if d.hit(c.w.plan.Rates[rateSeqFail]) {
		c.w.count(rateSeqFail)
		return errors.Join(errRedis, c.hang(ctx, d.between(0, 2*time.Second)))
	}
	return c.await(ctx, latency())
}

// Run implements redisseq.Engine. The runs come in any order: the first user in the alphabet names the call, or its outcome would be
// random.
func (c *counters) Run(ctx context.Context, runs []redisseq.Run) (answers []redisseq.Answer, err error) {
	first := runs[0].Counters[0].User
	for _, run := range runs {
		for _, counter := range run.Counters {
			first = min(first, counter.User)
		}
	}
	err = c.do(ctx, "Run", first, func(s *server) { answers = s.perform(runs) })
	return answers, err
}

// perform does what the script of package redisseq does.
func (s *server) perform(runs []redisseq.Run) []redisseq.Answer {
	by, now := redisseq.Server{Replication: fmt.Sprint(s.id)}, time.Now()
	answers := make([]redisseq.Answer, len(runs))
	for i, run := range runs {
		a := redisseq.Answer{By: by, Last: make([]int64, len(run.Counters)), Marks: make([]uint32, len(run.Counters))}
		for k, c := range run.Counters {
			at, there := s.get(now, c.User)
			if !there {
				at = counter{mark: run.Mark, expires: now.Add(run.Lifetime)}
			}
			switch {
			case c.Tail >= 0:
				at.at = max(at.at, c.Tail) + c.Count
				if at.mark == c.Settled {
					at.mark = 0
				}
			case at.mark == 0 && by == run.Believed:
				at.at += c.Count
			default:
				continue
			}
			s.set(now, c.User, at)
			a.Last[k], a.Marks[k] = at.at, at.mark
		}
		answers[i] = a
	}
	return answers
}

// promote makes a replica that lags the master.
func (r *redis) promote(lag time.Duration) { r.master = r.copyOf(r.master, time.Now().Add(-lag)) }
