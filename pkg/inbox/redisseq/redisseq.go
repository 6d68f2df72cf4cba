// Package redisseq is the sequencer of a cluster: a counter in Redis for each inbox.
package redisseq

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	prefix = "sealpost:seq:"
	// maxLifetime bounds how long a counter lives. It is set from the log's tail again, which costs one read.
	maxLifetime = 7 * 24 * time.Hour
)

// next counts only where there is a counter: one that began at 1 by itself would hand out what is taken.
const next = `if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end return redis.call('INCRBY', KEYS[1], ARGV[1])`

// raise never lowers a counter. The lifetime begins only with a new one.
const raise = `local at = redis.call('GET', KEYS[1])
if not at then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
elseif tonumber(at) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], ARGV[1], 'KEEPTTL') end
return 0`

// Sequencer implements inbox.Sequencer.
type Sequencer struct {
	redis    redis.UniversalClient
	lifetime time.Duration
	// incarnation counts the Redis processes that the client has met.
	incarnation func() uint64
}

// New makes a sequencer for a log whose entries are kept for retention.
//
// A counter lives for at most half of that: should Redis go back to an older copy of itself, the counters in it are
// either so young that the log still holds the positions they would hand out again, and refuses them, or gone.
//
// incarnation is redisclient.Client's.
func New(client redis.UniversalClient, retention time.Duration, incarnation func() uint64) *Sequencer {
	return &Sequencer{redis: client, lifetime: max(time.Millisecond, min(retention/2, maxLifetime)), incarnation: incarnation}
}

// Incarnation implements inbox.Sequencer. Counters go back when Redis is started anew with an older copy of its data, or
// when a replica that lags takes over.
func (s *Sequencer) Incarnation() uint64 { return s.incarnation() }

// Next implements inbox.Sequencer. A user is asked about once, however often it is listed.
func (s *Sequencer) Next(ctx context.Context, users []string) ([]int64, error) {
	wanted := make(map[string]int64, len(users))
	for _, user := range users {
		wanted[user]++
	}
	last := make(map[string]*redis.Cmd, len(wanted))
	_, err := s.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for user, n := range wanted {
			last[user] = p.Eval(ctx, next, []string{prefix + user}, n)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	at := make(map[string]int64, len(wanted))
	for user, c := range last {
		position, err := c.Int64()
		if err != nil {
			return nil, err
		}
		if position > 0 {
			at[user] = position - wanted[user]
		}
	}
	positions := make([]int64, len(users))
	for i, user := range users {
		if _, there := at[user]; there {
			at[user]++
			positions[i] = at[user]
		}
	}
	return positions, nil
}

// Raise implements inbox.Sequencer.
func (s *Sequencer) Raise(ctx context.Context, floors map[string]int64) error {
	_, err := s.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for user, floor := range floors {
			p.Eval(ctx, raise, []string{prefix + user}, floor, s.lifetime.Milliseconds())
		}
		return nil
	})
	return err
}
