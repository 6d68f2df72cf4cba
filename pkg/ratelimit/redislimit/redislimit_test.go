package redislimit_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/internal/enginetest"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/ratelimit/ratelimittest"
	"github.com/sealpost/sealpost/pkg/ratelimit/redislimit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheContract(t *testing.T) {
	client := enginetest.EmptyRedis(t)
	ratelimittest.Run(t, func(t *testing.T, q ratelimit.Quota) ratelimit.Limiter {
		return redislimit.New(client, t.Name(), q)
	})
}

func TestNodesShareAQuotaAndNamesDoNot(t *testing.T) {
	client := enginetest.EmptyRedis(t)
	quota := ratelimit.Quota{Events: 2, Period: time.Hour}
	for i, want := range []bool{true, true, false} {
		r, err := redislimit.New(client, "login", quota).Allow(t.Context(), "ann")
		require.NoError(t, err)
		require.Equal(t, want, r.Allowed, "attempt %d, each at another node", i+1)
	}
	r, err := redislimit.New(client, "register", quota).Allow(t.Context(), "ann")
	require.NoError(t, err)
	require.True(t, r.Allowed)
}

func TestWithRedisAwayItCannotDecide(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	l := redislimit.New(client, "login", ratelimit.Quota{Events: 1, Period: time.Hour})
	_, err := l.Allow(t.Context(), "ann")
	require.ErrorIs(t, err, ratelimit.ErrUnavailable)
	require.ErrorIs(t, l.GiveBack(t.Context(), "ann", 1), ratelimit.ErrUnavailable)
}
