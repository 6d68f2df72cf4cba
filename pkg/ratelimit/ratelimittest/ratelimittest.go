// Package ratelimittest has the contract of ratelimit.Limiter as tests. Every adapter passes them.
package ratelimittest

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/ratelimit"
)

const (
	// never is a period so long that no event comes back during a test.
	never = time.Hour
	// slack is how much later than promised an adapter may allow an event: for a busy machine and a round trip.
	slack = 2 * time.Second
	// grain is how much earlier it may: an adapter may round to milliseconds.
	grain = 2 * time.Millisecond
)

// Run tests the limiters that newLimiter makes against the contract. Each must start with the whole quota for every key.
func Run(t *testing.T, newLimiter func(t *testing.T, q ratelimit.Quota) ratelimit.Limiter) {
	cases := []struct {
		name string
		test func(*testing.T, func(*testing.T, ratelimit.Quota) ratelimit.Limiter)
	}{
		{"the whole quota is there at once, and no more", wholeQuotaAtOnce},
		{"results tell the truth about the quota", truthfulResults},
		{"an event is allowed when RetryAfter says and not before", truthfulRetryAfter},
		{"refused events do not count", refusedEventsDoNotCount},
		{"several events count together or not at all", severalAtOnce},
		{"several are allowed when RetryAfter says and not before", truthfulRetryAfterOfSeveral},
		{"what is given back is available again, and no more than the quota", givenBack},
		{"each key has its own quota", eachKeyItsOwn},
		{"keys are any text", anyKey},
		{"concurrent callers share one quota", concurrentCallers},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(t, newLimiter) })
	}
}

func allow(t *testing.T, l ratelimit.Limiter, key string) ratelimit.Result {
	t.Helper()
	r, err := l.Allow(t.Context(), key)
	require.NoError(t, err)
	return r
}

func wholeQuotaAtOnce(t *testing.T, newLimiter func(*testing.T, ratelimit.Quota) ratelimit.Limiter) {
	l := newLimiter(t, ratelimit.Quota{Events: 10, Period: never})
	for i := range 10 {
		require.True(t, allow(t, l, "k").Allowed, "event %d", i+1)
	}
	require.False(t, allow(t, l, "k").Allowed)
}

func truthfulResults(t *testing.T, newLimiter func(*testing.T, ratelimit.Quota) ratelimit.Limiter) {
	const events = 5
	l := newLimiter(t, ratelimit.Quota{Events: events, Period: never})
	for used := 1; used <= events; used++ {
		r := allow(t, l, "k")
		require.Equal(t, events, r.Limit)
		require.Equal(t, events-used, r.Remaining)
		require.Zero(t, r.RetryAfter)
		require.InDelta(t, float64(used)*never.Seconds()/events, r.ResetAfter.Seconds(), slack.Seconds())
	}
	r := allow(t, l, "k")
	require.False(t, r.Allowed)
	require.Equal(t, events, r.Limit)
	require.Zero(t, r.Remaining)
	require.InDelta(t, never.Seconds()/events, r.RetryAfter.Seconds(), slack.Seconds(), "one event comes back every fifth of the period")
	require.InDelta(t, never.Seconds(), r.ResetAfter.Seconds(), slack.Seconds())
}

func truthfulRetryAfter(t *testing.T, newLimiter func(*testing.T, ratelimit.Quota) ratelimit.Limiter) {
	// Long enough for a slow adapter to use the quota up before it comes back.
	l := newLimiter(t, ratelimit.Quota{Events: 2, Period: 800 * time.Millisecond})
	at, refused := time.Now(), allow(t, l, "k")
	for refused.Allowed {
		at, refused = time.Now(), allow(t, l, "k")
	}
	require.Positive(t, refused.RetryAfter)
	require.LessOrEqual(t, refused.RetryAfter, 400*time.Millisecond)

	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !allow(t, l, "k").Allowed {
		require.Less(t, time.Since(at), refused.RetryAfter+slack, "still refused")
		<-tick.C
	}
	require.GreaterOrEqual(t, time.Since(at), refused.RetryAfter-grain, "allowed before the time")
}

func refusedEventsDoNotCount(t *testing.T, newLimiter func(*testing.T, ratelimit.Quota) ratelimit.Limiter) {
	l := newLimiter(t, ratelimit.Quota{Events: 1, Period: never})
	require.True(t, allow(t, l, "k").Allowed)
	first := allow(t, l, "k")
	for range 20 {
		r := allow(t, l, "k")
		require.False(t, r.Allowed)
		require.LessOrEqual(t, r.RetryAfter, first.RetryAfter, "trying does not make it longer")
	}
}

func severalAtOnce(t *testing.T, newLimiter func(*testing.T, ratelimit.Quota) ratelimit.Limiter) {
	const events = 100
	l := newLimiter(t, ratelimit.Quota{Events: events, Period: never})
	ask := func(n int) ratelimit.Result {
		t.Helper()
		r, err := l.AllowN(t.Context(), "k", n)
		require.NoError(t, err)
		require.Equal(t, events, r.Limit)
		return r
	}
	require.False(t, ask(events+1).Allowed, "more than the whole quota")
	r := ask(60)
	require.True(t, r.Allowed)
	require.Equal(t, events-60, r.Remaining)
	require.Zero(t, r.RetryAfter)
	require.InDelta(t, 0.6*never.Seconds(), r.ResetAfter.Seconds(), slack.Seconds())

	r = ask(41)
	require.False(t, r.Allowed)
	require.Zero(t, r.Remaining)
	require.InDelta(t, never.Seconds()/events, r.RetryAfter.Seconds(), slack.Seconds(), "it is one too many")
	require.InDelta(t, 0.6*never.Seconds(), r.ResetAfter.Seconds(), slack.Seconds())
	r = ask(60)
	require.InDelta(t, 20*never.Seconds()/events, r.RetryAfter.Seconds(), slack.Seconds())

	require.True(t, ask(39).Allowed, "what was refused did not count")
	require.True(t, allow(t, l, "k").Allowed, "both count against one quota")
	require.False(t, allow(t, l, "k").Allowed)
}

func truthfulRetryAfterOfSeveral(t *testing.T, newLimiter func(*testing.T, ratelimit.Quota) ratelimit.Limiter) {
	// As above: long enough for a slow adapter to use the quota up before it comes back.
	l := newLimiter(t, ratelimit.Quota{Events: 8, Period: 1600 * time.Millisecond})
	ask := func() ratelimit.Result {
		t.Helper()
		r, err := l.AllowN(t.Context(), "k", 4)
		require.NoError(t, err)
		return r
	}
	at, refused := time.Now(), ask()
	for refused.Allowed {
		at, refused = time.Now(), ask()
	}
	require.Positive(t, refused.RetryAfter)
	require.LessOrEqual(t, refused.RetryAfter, 800*time.Millisecond)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ask().Allowed {
		require.Less(t, time.Since(at), refused.RetryAfter+slack, "still refused")
		<-tick.C
	}
	require.GreaterOrEqual(t, time.Since(at), refused.RetryAfter-grain, "allowed before the time")
}

func givenBack(t *testing.T, newLimiter func(*testing.T, ratelimit.Quota) ratelimit.Limiter) {
	const events = 5
	l := newLimiter(t, ratelimit.Quota{Events: events, Period: never})
	back := func(key string, n int) { t.Helper(); require.NoError(t, l.GiveBack(t.Context(), key, n)) }
	back("k", 3) // nothing was counted
	for range 3 {
		require.Equal(t, events-1, allow(t, l, "k").Remaining)
		back("k", 1)
	}
	for range events {
		require.True(t, allow(t, l, "k").Allowed)
	}
	require.False(t, allow(t, l, "k").Allowed)
	back("other", 1)
	require.False(t, allow(t, l, "k").Allowed, "each key has its own")
	back("k", 2)
	require.True(t, allow(t, l, "k").Allowed)
	require.True(t, allow(t, l, "k").Allowed)
	require.False(t, allow(t, l, "k").Allowed)
	back("k", 3*events)
	for range events {
		require.True(t, allow(t, l, "k").Allowed)
	}
	require.False(t, allow(t, l, "k").Allowed, "no more than the quota")
}

func eachKeyItsOwn(t *testing.T, newLimiter func(*testing.T, ratelimit.Quota) ratelimit.Limiter) {
	l := newLimiter(t, ratelimit.Quota{Events: 1, Period: never})
	for _, key := range []string{"a", "b", "a|b", "A"} {
		require.True(t, allow(t, l, key).Allowed, key)
		require.False(t, allow(t, l, key).Allowed, key)
	}
}

func anyKey(t *testing.T, newLimiter func(*testing.T, ratelimit.Quota) ratelimit.Limiter) {
	l := newLimiter(t, ratelimit.Quota{Events: 1, Period: never})
	for _, key := range []string{"", " ", "a:b", "{a}", "a\nb", "2001:db8::/64", "ключ"} {
		require.True(t, allow(t, l, key).Allowed, "%q", key)
		require.False(t, allow(t, l, key).Allowed, "%q", key)
	}
}

func concurrentCallers(t *testing.T, newLimiter func(*testing.T, ratelimit.Quota) ratelimit.Limiter) {
	const events, callers, calls = 40, 16, 20
	l := newLimiter(t, ratelimit.Quota{Events: events, Period: never})
	var allowed atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range calls {
				r, err := l.Allow(context.WithoutCancel(t.Context()), "k")
				if assert.NoError(t, err, "contention is no failure") && r.Allowed {
					allowed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, events, allowed.Load())
}
