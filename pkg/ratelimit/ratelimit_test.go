package ratelimit_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/ratelimit/ratelimittest"
)

func TestInProcess(t *testing.T) {
	ratelimittest.Run(t, func(_ *testing.T, q ratelimit.Quota) ratelimit.Limiter { return ratelimit.NewInProcess(q, 0) })
}

func allow(t *testing.T, l ratelimit.Limiter, key string) ratelimit.Result {
	t.Helper()
	r, err := l.Allow(t.Context(), key)
	require.NoError(t, err)
	return r
}

func TestTenInAQuarterOfAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := ratelimit.NewInProcess(ratelimit.Quota{Events: 10, Period: 15 * time.Minute}, 0)
		for i := range 10 {
			require.Equal(t, ratelimit.Result{
				Allowed: true, Limit: 10, Remaining: 9 - i, ResetAfter: time.Duration(i+1) * 90 * time.Second,
			}, allow(t, l, "k"))
		}
		refused := ratelimit.Result{Limit: 10, ResetAfter: 15 * time.Minute, RetryAfter: 90 * time.Second}
		require.Equal(t, refused, allow(t, l, "k"))

		<-time.After(90*time.Second - 1)
		require.Equal(t, time.Duration(1), allow(t, l, "k").RetryAfter)
		<-time.After(1)
		require.True(t, allow(t, l, "k").Allowed, "one event came back")
		require.Equal(t, refused, allow(t, l, "k"), "and only one")

		<-time.After(time.Hour)
		for range 10 {
			require.True(t, allow(t, l, "k").Allowed, "the whole quota came back, and no more than it")
		}
		require.False(t, allow(t, l, "k").Allowed)
	})
}

func TestMemoryIsBoundedAndWhoIsRefusedIsForgottenLast(t *testing.T) {
	l := ratelimit.NewInProcess(ratelimit.Quota{Events: 1, Period: time.Hour}, 3)
	require.True(t, allow(t, l, "abuser").Allowed)
	for i := range 100 {
		require.True(t, allow(t, l, fmt.Sprint("other ", i)).Allowed)
		require.False(t, allow(t, l, "abuser").Allowed)
	}
	require.True(t, allow(t, l, "other 0").Allowed, "forgotten long since")
}

func TestWhatIsNoQuotaIsAProgrammingError(t *testing.T) {
	for _, q := range []ratelimit.Quota{{}, {Events: 1}, {Period: time.Second}, {Events: -1, Period: time.Second}, {Events: 10, Period: 9}} {
		require.Panics(t, func() { ratelimit.NewInProcess(q, 0) }, "%+v", q)
	}
	require.Panics(t, func() { ratelimit.NewInProcess(ratelimit.Quota{Events: 1, Period: time.Second}, -1) })
}

func TestOffAllowsEverythingAndTellsNoLimit(t *testing.T) {
	for range 1000 {
		require.Equal(t, ratelimit.Result{Allowed: true}, allow(t, ratelimit.Off{}, "k"))
	}
	r, err := ratelimit.Off{}.AllowN(t.Context(), "k", 1<<30)
	require.NoError(t, err)
	require.Equal(t, ratelimit.Result{Allowed: true}, r)
}
