package redisseq_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/inboxtest"
	"github.com/sealpost/sealpost/pkg/inbox/redisseq"
	"github.com/sealpost/sealpost/pkg/inbox/redisseq/redisseqtest"
	"github.com/sealpost/sealpost/pkg/internal/enginetest"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	retention = 90 * 24 * time.Hour
	// settling is short: tests wait until counters are trusted.
	settling = 20 * time.Millisecond
	patience = 20 * time.Second
)

func sequencer(client redis.UniversalClient) *redisseq.Sequencer {
	return redisseq.New(client, redisseq.Config{Retention: retention, Settling: settling})
}

// onBoth runs a test on Redis and on the in-memory engine. lose removes counters.
func onBoth(t *testing.T, test func(t *testing.T, s *redisseq.Sequencer, lose func(users ...string))) {
	t.Run("redis", func(t *testing.T) {
		client := enginetest.EmptyRedis(t)
		test(t, sequencer(client), func(users ...string) {
			for _, user := range users {
				require.NoError(t, client.Del(t.Context(), "sealpost:seq:"+user).Err())
			}
			if len(users) == 0 {
				require.NoError(t, client.FlushDB(t.Context()).Err())
			}
		})
	})
	t.Run("memory", func(t *testing.T) {
		server := redisseqtest.NewServer()
		test(t, redisseq.NewOn(server, redisseq.Config{Retention: retention, Settling: settling}), server.Lose)
	})
}

// wants returns wants for users, without tails.
func wants(users ...string) (list []inbox.Want) {
	for _, user := range users {
		list = append(list, inbox.Want{User: user})
	}
	return list
}

// above returns a want with a tail that was read now.
func above(user string, tail int64) inbox.Want {
	return inbox.Want{User: user, Tail: tail, ReadAt: time.Now()}
}

func take(t *testing.T, s *redisseq.Sequencer, list ...inbox.Want) []int64 {
	t.Helper()
	taken, err := s.Take(t.Context(), list)
	require.NoError(t, err)
	return taken
}

// settle waits until the counters of users are trusted.
func settle(t *testing.T, s *redisseq.Sequencer, users ...string) {
	t.Helper()
	for _, user := range users {
		require.Eventually(t, func() bool {
			raise := above(user, 0)
			raise.RaiseOnly = true
			return take(t, s, raise)[0] == 0 && take(t, s, wants(user)...)[0] > 0
		}, patience, settling)
	}
}

func TestACounterNeedsATailUntilItIsBelieved(t *testing.T) {
	onBoth(t, func(t *testing.T, s *redisseq.Sequencer, _ func(...string)) {
		require.Equal(t, []int64{0, 0}, take(t, s, wants("ann", "ben")...))
		require.Equal(t, []int64{42, 1, 43, 0}, take(t, s, above("ann", 41), above("ben", 0), above("ann", 40), inbox.Want{User: "cid"}))
		require.Equal(t, []int64{0, 0}, take(t, s, wants("ann", "ben")...))
		settle(t, s, "ann", "ben")
		require.Equal(t, []int64{45, 3, 46}, take(t, s, wants("ann", "ben", "ann")...))
		require.Empty(t, take(t, s))
	})
}

func TestACounterIsNeverLowered(t *testing.T) {
	onBoth(t, func(t *testing.T, s *redisseq.Sequencer, _ func(...string)) {
		next := int64(0)
		for _, tail := range []int64{7, 3, 7, 20, 0} {
			next = max(next, tail) + 1
			require.Equal(t, []int64{next}, take(t, s, above("ann", tail)))
			raise := above("ann", tail)
			raise.RaiseOnly = true
			require.Equal(t, []int64{0}, take(t, s, raise))
		}
	})
}

func TestCallersAtOnceGetPositionsOfTheirOwn(t *testing.T) {
	client := enginetest.EmptyRedis(t)
	const callers, calls = 16, 50
	var mu sync.Mutex
	seen := map[int64]bool{}
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			s := sequencer(client)
			for range calls {
				taken, err := s.Take(context.WithoutCancel(t.Context()), []inbox.Want{above("ann", 0), above("ann", 0)})
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
		s := redisseq.New(client, redisseq.Config{Retention: c.retention, Settling: settling})
		take(t, s, above(user, 1))
		require.InDelta(t, c.lifetime, client.PTTL(t.Context(), "sealpost:seq:"+user).Val(), float64(time.Minute))
		require.NoError(t, client.PExpire(t.Context(), "sealpost:seq:"+user, time.Minute).Err())
		settle(t, s, user)
		take(t, s, above(user, 100))
		require.LessOrEqual(t, client.PTTL(t.Context(), "sealpost:seq:"+user).Val(), time.Minute)
		require.Positive(t, client.PTTL(t.Context(), "sealpost:seq:"+user).Val())
	}
}

func TestWithRedisAwayThereIsAnError(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	_, err := sequencer(client).Take(t.Context(), []inbox.Want{above("ann", 1)})
	require.Error(t, err)
}

// TestACounterThatWasLostIsNotBelievedBeforeNothingOfTheOldOneCanBeOnItsWay: whichever node recreated it.
func TestACounterThatWasLostIsNotBelievedBeforeNothingOfTheOldOneCanBeOnItsWay(t *testing.T) {
	onBoth(t, func(t *testing.T, s *redisseq.Sequencer, lose func(...string)) {
		for what, users := range map[string][]string{"all are lost": nil, "one is lost": {"ann"}} {
			take(t, s, above("ann", 10))
			settle(t, s, "ann")
			lose(users...)
			stale := above("ann", 5) // read before the positions of the old counter were placed
			require.Equal(t, []int64{0}, take(t, s, wants("ann")...), what)
			require.Equal(t, []int64{6}, take(t, s, stale), what)
			require.Equal(t, []int64{0}, take(t, s, wants("ann")...), what)
			lose(users...)
			require.Equal(t, []int64{9}, take(t, s, above("ann", 8)), what)
			require.Equal(t, []int64{0}, take(t, s, wants("ann")...), what)
		}
	})
}

// TestATailThatWasReadTooEarlyDoesNotVouchForACounter: even if it is passed to Take late.
func TestATailThatWasReadTooEarlyDoesNotVouchForACounter(t *testing.T) {
	onBoth(t, func(t *testing.T, s *redisseq.Sequencer, _ func(...string)) {
		take(t, s, above("ben", 1))
		settle(t, s, "ben")
		take(t, s, above("ann", 10))
		early := above("ann", 10)
		settle(t, s, "ben") // enough time has passed
		require.Eventually(t, func() bool { return time.Since(early.ReadAt) > 2*settling+100*time.Millisecond }, patience, settling)
		take(t, s, early)
		require.Equal(t, []int64{0}, take(t, s, wants("ann")...))
		take(t, s, above("ann", 10))
		require.Equal(t, []int64{14}, take(t, s, wants("ann")...))
	})
}

// TestMemoryAnswersAsRedisDoes for random runs.
func TestMemoryAnswersAsRedisDoes(t *testing.T) {
	client, server := enginetest.EmptyRedis(t), redisseqtest.NewServer()
	engine := redisseq.Redis(client)
	var seen redisseq.Server // Redis's
	random := rand.New(rand.NewPCG(1, 2))
	users := []string{"ann", "ben", "cid"}
	marks := []uint32{0, 1, 2, 3}
	for range 2000 {
		if random.IntN(10) == 0 {
			user := users[random.IntN(len(users))]
			server.Lose(user)
			require.NoError(t, client.Del(t.Context(), "sealpost:seq:"+user).Err())
		}
		run := redisseq.Run{Lifetime: time.Hour, Mark: marks[1+random.IntN(3)]}
		random.Shuffle(len(users), func(i, k int) { users[i], users[k] = users[k], users[i] })
		for _, user := range users[:1+random.IntN(len(users))] {
			run.Counters = append(run.Counters, redisseq.Counter{
				User: user, Count: random.Int64N(3), Tail: random.Int64N(50) - 20, Settled: marks[random.IntN(len(marks))],
			})
			if last := &run.Counters[len(run.Counters)-1]; last.Tail < 0 {
				last.Tail = -1
			}
		}
		believed := random.IntN(3) > 0
		inMemory := run
		if believed {
			run.Believed, inMemory.Believed = seen, server.By()
		}
		want, err := engine.Run(t.Context(), []redisseq.Run{run})
		require.NoError(t, err)
		got, err := server.Run(t.Context(), []redisseq.Run{inMemory})
		require.NoError(t, err)
		seen = want[0].By
		require.False(t, seen.Replica)
		require.Equal(t, want[0].Last, got[0].Last, "%+v", run)
		require.Equal(t, want[0].Marks, got[0].Marks, "%+v", run)
	}
}

// TestACounterThatHoldsSomethingElseIsMadeAgain: and other counters in the same request get their positions.
func TestACounterThatHoldsSomethingElseIsMadeAgain(t *testing.T) {
	client := enginetest.EmptyRedis(t)
	s := sequencer(client)
	for _, nonsense := range []string{"", "-3", "x", "7:x", "1.5"} {
		take(t, s, above("ann", 10), above("ben", 10))
		settle(t, s, "ann", "ben")
		require.NoError(t, client.Set(t.Context(), "sealpost:seq:ann", nonsense, 0).Err())
		taken := take(t, s, wants("ann", "ben")...)
		require.Zero(t, taken[0], nonsense)
		require.Positive(t, taken[1], nonsense)
		require.Equal(t, []int64{101}, take(t, s, above("ann", 100)), nonsense)
		require.Positive(t, client.PTTL(t.Context(), "sealpost:seq:ann").Val())
	}
}

// TestAServerThatLostItsScriptIsSentItAgain: as after a restart.
func TestAServerThatLostItsScriptIsSentItAgain(t *testing.T) {
	client := enginetest.EmptyRedis(t)
	s := sequencer(client)
	for i := range 3 {
		require.NoError(t, client.ScriptFlush(t.Context()).Err())
		require.Equal(t, []int64{int64(i + 1)}, take(t, s, above("ann", 0)))
	}
}

// TestWhatWasOnItsWayWhenRedisWasEmptiedIsNotPassed: of two nodes, one recreates the counter from a tail that does not yet include what the
// other has under way.
func TestWhatWasOnItsWayWhenRedisWasEmptiedIsNotPassed(t *testing.T) {
	client := enginetest.EmptyRedis(t)
	log, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, log.Close()) }()
	const writeTimeout = 300 * time.Millisecond
	type key struct{}
	node := func() *inbox.Writer {
		w := inbox.NewWriter(inbox.Config{
			Store: inboxtest.TwoSteps(log), Counters: redisseq.New(client, redisseq.Config{Retention: retention, Settling: writeTimeout}), WriteTimeout: writeTimeout,
			Failpoint: func(ctx context.Context, s inbox.Step) error {
				if at, ok := ctx.Value(key{}).(func() error); ok && s == inbox.StepPositions {
					return at()
				}
				return nil
			},
		})
		t.Cleanup(w.Stop)
		return w
	}
	send := func(ctx context.Context, w *inbox.Writer) (int64, error) {
		r, err := w.Append(ctx, inbox.Draft{Sender: "Bob", Content: "c", IV: "iv", Recipients: []inbox.Recipient{{Username: "Bob"}}})
		if err != nil {
			return 0, err
		}
		return r.Entries[0].Position, nil
	}
	one, other := node(), node()
	for began := time.Now(); time.Since(began) < 3*writeTimeout; { // both trust the counter
		for _, w := range []*inbox.Writer{one, other} {
			_, err := send(t.Context(), w)
			require.NoError(t, err)
		}
	}
	for range 2 { // these positions are never used
		_, err := send(context.WithValue(t.Context(), key{}, func() error { return context.Canceled }), one)
		require.ErrorIs(t, err, context.Canceled)
	}
	reached, goOn := make(chan struct{}), make(chan struct{})
	var onItsWay int64
	var all sync.WaitGroup
	all.Go(func() {
		var err error
		onItsWay, err = send(context.WithValue(t.Context(), key{}, func() error { close(reached); <-goOn; return nil }), one)
		assert.NoError(t, err)
	})
	<-reached
	require.NoError(t, client.FlushDB(t.Context()).Err())
	_, err = send(t.Context(), other)
	require.NoError(t, err)
	close(goOn)
	all.Wait()
	for _, w := range []*inbox.Writer{one, other} {
		later, err := send(t.Context(), w)
		require.NoError(t, err)
		require.Greater(t, later, onItsWay)
	}
}
