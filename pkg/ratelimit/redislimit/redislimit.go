// Package redislimit is a rate limiter that all nodes share: the generic cell rate algorithm in Redis, with redis_rate.
package redislimit

import (
	"context"
	"fmt"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"

	"github.com/sealpost/sealpost/pkg/ratelimit"
)

// timeout limits one decision.
const timeout = time.Second

// Limiter implements ratelimit.Limiter.
type Limiter struct {
	name   string
	limit  redis_rate.Limit
	rate   *redis_rate.Limiter
	client redis.UniversalClient
}

// New makes a limiter with a quota. Limiters with the same name share their counts.
func New(client redis.UniversalClient, name string, q ratelimit.Quota) *Limiter {
	return &Limiter{
		name: name, rate: redis_rate.NewLimiter(client), client: client,
		limit: redis_rate.Limit{Rate: q.Events, Burst: q.Events, Period: q.Period},
	}
}

// Allow implements ratelimit.Limiter.
func (l *Limiter) Allow(ctx context.Context, key string) (ratelimit.Result, error) {
	return l.AllowN(ctx, key, 1)
}

// AllowN implements ratelimit.Limiter, in one round trip.
func (l *Limiter) AllowN(ctx context.Context, key string, n int) (ratelimit.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := l.rate.AllowN(ctx, "sealpost:"+l.name+":"+key, l.limit, n)
	if err != nil {
		return ratelimit.Result{}, fmt.Errorf("%w: %w", ratelimit.ErrUnavailable, err)
	}
	return ratelimit.Result{
		Allowed: r.Allowed > 0, Limit: l.limit.Burst, Remaining: r.Remaining,
		ResetAfter: r.ResetAfter, RetryAfter: max(0, r.RetryAfter),
	}, nil
}

// giveBack moves the time at which the whole quota is available again back. redis_rate cannot: with a negative cost it keeps the old time
// if the new one is in the past. The key and the epoch are those of redis_rate.
var giveBack = redis.NewScript(`
local full = tonumber(redis.call("GET", KEYS[1]))
if not full then
  return 0
end
local time = redis.call("TIME")
local now = (time[1] - 1483228800) + (time[2] / 1000000)
full = full - tonumber(ARGV[1])
if full > now then
  redis.call("SET", KEYS[1], full, "EX", math.ceil(full - now))
else
  redis.call("DEL", KEYS[1])
end
return 1
`)

// GiveBack implements ratelimit.Limiter, in one round trip.
func (l *Limiter) GiveBack(ctx context.Context, key string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	seconds := l.limit.Period.Seconds() / float64(l.limit.Rate) * float64(n)
	if err := giveBack.Run(ctx, l.client, []string{"rate:sealpost:" + l.name + ":" + key}, seconds).Err(); err != nil {
		return fmt.Errorf("%w: %w", ratelimit.ErrUnavailable, err)
	}
	return nil
}
