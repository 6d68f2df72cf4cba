package redisseq_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/inbox/redisseq"
	"github.com/sealpost/sealpost/pkg/internal/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// always is a Redis that was never another one.
func always() uint64 { return 1 }

const retention = 90 * 24 * time.Hour

func next(t *testing.T, s *redisseq.Sequencer, users ...string) []int64 {
	t.Helper()
	taken, err := s.Next(t.Context(), users)
	require.NoError(t, err)
	return taken
}

func TestACounterThatIsMissingIsSaidToBeAndCountsOnceItIsSet(t *testing.T) {
	s := redisseq.New(enginetest.EmptyRedis(t), retention, always)
	require.Equal(t, []int64{0, 0}, next(t, s, "ann", "ben"))
	require.NoError(t, s.Raise(t.Context(), map[string]int64{"ann": 41, "ben": 0}))
	require.Equal(t, []int64{42, 1, 43}, next(t, s, "ann", "ben", "ann"))
	require.Equal(t, []int64{0}, next(t, s, "cid"))
	require.Empty(t, next(t, s))
}

func TestACounterIsNeverLowered(t *testing.T) {
	s := redisseq.New(enginetest.EmptyRedis(t), retention, always)
	for _, floor := range []int64{7, 3, 7, 8, 0} {
		require.NoError(t, s.Raise(t.Context(), map[string]int64{"ann": floor}))
	}
	require.Equal(t, []int64{9}, next(t, s, "ann"))
	require.NoError(t, s.Raise(t.Context(), nil))
}

func TestCallersAtOnceGetPositionsOfTheirOwn(t *testing.T) {
	client := enginetest.EmptyRedis(t)
	require.NoError(t, redisseq.New(client, retention, always).Raise(t.Context(), map[string]int64{"ann": 0}))
	const callers, calls = 16, 50
	var mu sync.Mutex
	seen := map[int64]bool{}
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			s := redisseq.New(client, retention, always)
			for range calls {
				taken, err := s.Next(context.WithoutCancel(t.Context()), []string{"ann", "ann"})
				if !assert.NoError(t, err) {
					return
				}
				mu.Lock()
				seen[taken[0]], seen[taken[1]] = true, true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, 2*callers*calls)
}

func TestACounterLivesForAtMostHalfTheRetentionAndUseDoesNotProlongIt(t *testing.T) {
	client := enginetest.EmptyRedis(t)
	for _, c := range []struct{ retention, lifetime time.Duration }{
		{retention, 7 * 24 * time.Hour}, {time.Hour, 30 * time.Minute},
	} {
		user := fmt.Sprint(c.retention)
		s := redisseq.New(client, c.retention, always)
		require.NoError(t, s.Raise(t.Context(), map[string]int64{user: 1}))
		require.InDelta(t, c.lifetime, client.PTTL(t.Context(), "sealpost:seq:"+user).Val(), float64(time.Minute))
		require.NoError(t, client.PExpire(t.Context(), "sealpost:seq:"+user, time.Minute).Err())
		next(t, s, user)
		require.NoError(t, s.Raise(t.Context(), map[string]int64{user: 100}))
		require.LessOrEqual(t, client.PTTL(t.Context(), "sealpost:seq:"+user).Val(), time.Minute)
	}
}

func TestWithRedisAwayThereIsAnError(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	s := redisseq.New(client, retention, always)
	_, err := s.Next(t.Context(), []string{"ann"})
	require.Error(t, err)
	require.Error(t, s.Raise(t.Context(), map[string]int64{"ann": 1}))
}
