package redislog_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/internal/enginetest"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/revocation/redislog"
	"github.com/sealpost/sealpost/pkg/revocation/revocationtest"
	"github.com/sealpost/sealpost/pkg/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const stream = "sealpost:revocations"

func TestTheContract(t *testing.T) {
	client := enginetest.EmptyRedis(t)
	revocationtest.Run(t, func(t *testing.T) revocation.Log {
		require.NoError(t, client.Del(t.Context(), stream).Err())
		return redislog.New(client)
	})
}

func record(id string) revocation.Record {
	return revocation.Record{TokenID: id, Subject: "alice", ExpiresAt: time.Now().Add(time.Hour)}
}

// follow follows a log until the test ends; told gets the error that ends it.
func follow(t *testing.T, log revocation.Log) (current <-chan struct{}, told <-chan error) {
	ctx, cancel := context.WithCancel(t.Context())
	beats, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- log.Follow(ctx, func(revocation.Record) {}, func() {
			select {
			case beats <- struct{}{}:
			case <-ctx.Done():
			}
		})
		close(beats)
	}()
	t.Cleanup(func() {
		cancel()
		for range beats {
			continue
		}
	})
	return beats, ended
}

// TestAStreamThatWentBackIsNoticed: whatever Redis loses, and whatever is appended meanwhile, Follow ends, so that the next one reads the
// stream from the beginning.
func TestAStreamThatWentBackIsNoticed(t *testing.T) {
	client := enginetest.EmptyRedis(t)
	add := func(t *testing.T, n int) {
		for i := range n {
			require.NoError(t, redislog.New(client).Append(t.Context(), record(fmt.Sprint(i))))
		}
	}
	for name, lose := range map[string]func(t *testing.T){
		"emptied": func(t *testing.T) { require.NoError(t, client.FlushDB(t.Context()).Err()) },
		"emptied, and fewer came": func(t *testing.T) {
			require.NoError(t, client.FlushDB(t.Context()).Err())
			add(t, 1)
		},
		"emptied, and more came": func(t *testing.T) {
			require.NoError(t, client.FlushDB(t.Context()).Err())
			add(t, 7)
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, client.FlushDB(t.Context()).Err())
			add(t, 3)
			current, ended := follow(t, redislog.New(client))
			<-current
			lose(t)
			for range current {
				continue
			}
			err := <-ended
			require.ErrorIs(t, err, revocation.ErrUnavailable)
			require.ErrorContains(t, err, "gone back")
		})
	}
}

func TestAStreamIsTrimmedToTheLifetimeOfTokens(t *testing.T) {
	client := enginetest.EmptyRedis(t)
	old := time.Now().Add(-token.MaxLifetime - 2*time.Hour).UnixMilli()
	// Redis trims whole nodes of its tree, of some hundred entries each.
	for i := range 5000 {
		require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{
			Stream: stream, ID: fmt.Sprintf("%d-%d", old, i+1), Values: []any{"generation", "1", "expires", "1"},
		}).Err())
	}
	require.NoError(t, redislog.New(client).Append(t.Context(), record("new")))
	require.Less(t, client.XLen(t.Context(), stream).Val(), int64(500))
}

func TestARecordThatIsNoneEndsTheFollower(t *testing.T) {
	client := enginetest.EmptyRedis(t)
	require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: stream, Values: []any{"generation", "x"}}).Err())
	err := redislog.New(client).Follow(t.Context(), func(revocation.Record) {}, func() {})
	require.ErrorIs(t, err, revocation.ErrUnavailable)
}

func TestWithRedisAwayNothingIsRevoked(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	require.ErrorIs(t, redislog.New(client).Append(t.Context(), record("a")), revocation.ErrUnavailable)
	err := redislog.New(client).Follow(t.Context(), nil, nil)
	require.ErrorIs(t, err, revocation.ErrUnavailable)
}
