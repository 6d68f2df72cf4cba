package messaging

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// expired is a store that records EraseExpired calls, which fail while fail is set.
type expired struct {
	mu    sync.Mutex
	times []time.Time
	fail  error
}

func (x *expired) EraseExpired(_ context.Context, now time.Time) (int64, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.times = append(x.times, now)
	return 3, x.fail
}

// calls returns the times of the calls, and sets whether they fail from now on.
func (x *expired) calls(fail error) []time.Time {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.fail = fail
	return slices.Clone(x.times)
}

// lines counts the lines of a log.
type lines struct{ atomic.Int64 }

func (l *lines) Write(text []byte) (int, error) {
	l.Add(1)
	return len(text), nil
}

func TestExpiredContentsAreErasedEveryMinuteAndAgainAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, x, m := &lines{}, &expired{fail: errors.New("the store is away")}, NewMetrics(nil)
		e := &Eraser{Store: x, Now: time.Now, Log: slog.New(slog.NewTextHandler(log, nil)), Metrics: m}
		ctx, cancel := context.WithCancel(t.Context())
		go e.Run(ctx)
		begun := time.Now()
		<-time.After(eraseEvery * 6 / 5)
		synctest.Wait()
		failed := len(x.calls(nil))
		require.Positive(t, failed)
		require.EqualValues(t, failed, testutil.ToFloat64(m.notErased))
		require.EqualValues(t, failed, log.Load())
		<-time.After(10 * eraseEvery)
		synctest.Wait()
		times := x.calls(nil)
		require.EqualValues(t, failed, log.Load())
		require.EqualValues(t, 3*len(times), testutil.ToFloat64(m.erased))
		for i, at := range times {
			wait := at.Sub(begun)
			require.GreaterOrEqual(t, wait, eraseEvery*4/5, "time %d", i)
			require.LessOrEqual(t, wait, eraseEvery*6/5, "time %d", i)
			begun = at
		}
		cancel()
		<-time.After(2 * eraseEvery)
		require.Len(t, x.calls(nil), len(times))
	})
}
