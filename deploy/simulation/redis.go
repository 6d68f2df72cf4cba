package simulation

import (
	"context"
	"errors"
	"time"
)

// redis is the simulated Redis, as far as counters go: a master, which may be replaced by one that knows less.
type redis struct {
	w      *world
	master *server
	// down is until when it refuses connections, stalled until when it takes commands and does not answer.
	down, stalled time.Time
	servers       int
}

// server is one Redis process.
type server struct {
	// id is its run id.
	id       int
	counters map[string]counter
	// past is how the counters came to be what they are, for copies of older states.
	past []change
}

type counter struct {
	at      int64
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
}

// counters is one process's client. It implements inbox.Sequencer.
type counters struct {
	*process
	r *redis
	// on is the server that it is connected to; known are the run ids that it has met. See package redisclient.
	on          *server
	known       map[int]bool
	incarnation uint64
	// cut is until when Redis is not reached from here, kept until when it stays with the server it is on, whoever is master.
	cut, kept time.Time
}

var errRedis = errors.New("simulation: redis is away")

// connect makes sure that there is a connection.
func (c *counters) connect() {
	if c.on == c.r.master || (c.on != nil && time.Now().Before(c.kept)) {
		return
	}
	c.on = c.r.master
	if c.known[c.on.id] {
		return
	}
	if c.known == nil || !c.w.plan.Shape.Cluster {
		c.known = map[int]bool{}
	}
	c.known[c.on.id] = true
	c.incarnation++
}

// do makes a round trip.
func (c *counters) do(ctx context.Context, operation, key string, change func(s *server)) error {
	command := func(s *server) {
		c.w.state.Lock()
		defer c.w.state.Unlock()
		change(s)
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
		err := c.hang(ctx, time.Until(c.r.stalled))
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
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

// Next implements inbox.Sequencer.
func (c *counters) Next(ctx context.Context, users []string) ([]int64, error) {
	taken := make([]int64, len(users))
	err := c.do(ctx, "Next", users[0], func(s *server) {
		for i, user := range users {
			now := time.Now()
			at, there := s.get(now, user)
			if !there {
				continue
			}
			at.at++
			s.set(now, user, at)
			taken[i] = at.at
		}
	})
	return taken, err
}

// Raise implements inbox.Sequencer.
func (c *counters) Raise(ctx context.Context, floors map[string]int64) error {
	key := ""
	for user := range floors {
		if key == "" || user < key {
			key = user
		}
	}
	lifetime := min(c.w.plan.Shape.Retention/2, 7*24*time.Hour)
	return c.do(ctx, "Raise", key, func(s *server) {
		now := time.Now()
		for user, floor := range floors {
			at, there := s.get(now, user)
			if !there {
				s.set(now, user, counter{floor, now.Add(lifetime)})
			} else if at.at < floor {
				s.set(now, user, counter{floor, at.expires})
			}
		}
	})
}

// Incarnation implements inbox.Sequencer.
func (c *counters) Incarnation() uint64 { return c.incarnation }

// promote makes a replica the master that lags. In a Cluster clients know it already.
func (r *redis) promote(lag time.Duration) {
	r.master = r.copyOf(r.master, time.Now().Add(-lag))
	if r.w.plan.Shape.Cluster {
		for _, n := range r.w.nodes {
			if n.counters != nil && n.counters.known != nil {
				n.counters.known[r.master.id] = true
			}
		}
	}
}
