package simulation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealpost/sealpost/pkg/inbox/redisseq"
)

// redis is the simulated Redis, as far as counters and the stream of revocations go: a master, which may be replaced by one that knows less.
type redis struct {
	w      *world
	master *server
	// down is until when it refuses connections, stalled until when it takes commands and does not answer.
	down, stalled time.Time
	servers       int
}

// server is one Redis process.
type server struct {
	// id is that of the history of its data.
	id       int
	counters map[string]counter
	// past is how the counters came to be what they are, for copies of older states.
	past []change
	// revocations are what its stream of them holds, streams what it held when.
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

// copyOf is a server that holds what another one held at a time.
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

// flush empties it.
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
	// cut is until when Redis is not reached from here, kept until when it stays with the server it is on, whoever is master.
	cut, kept time.Time
}

var errRedis = errors.New("simulation: redis is away")

// connect makes sure that there is a connection to the master, unless it is kept.
func (c *counters) connect() {
	if c.on == nil || !time.Now().Before(c.kept) {
		c.on = c.r.master
	}
}

// do makes a round trip.
func (c *counters) do(ctx context.Context, operation, key string, change func(s *server)) error {
	command := func(s *server) {
		c.w.state.Lock()
		defer c.w.state.Unlock()
		change(s)
		c.w.note("process %d asks redis %d: %s %s, which has %d revocations of %d", c.id, s.id, operation, key, len(s.revocations.records), s.revocations.added)
	}
	d := c.dice(operation, key)
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
		// Taken, and answered when it goes on, if somebody still waits.
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

// Run implements redisseq.Engine. The runs come in any order: the call is named by the first user in the alphabet, or chance would
// decide what becomes of it.
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

// perform does what the script does: see package redisseq.
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

// promote makes a replica the master that lags.
func (r *redis) promote(lag time.Duration) { r.master = r.copyOf(r.master, time.Now().Add(-lag)) }
