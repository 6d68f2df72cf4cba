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
	name  string
	limit redis_rate.Limit
	rate  *redis_rate.Limiter
}

// New makes a limiter with a quota. Limiters with the same name share their counts.
func New(client redis.UniversalClient, name string, q ratelimit.Quota) *Limiter {
	return &Limiter{
		name: name, rate: redis_rate.NewLimiter(client),
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
