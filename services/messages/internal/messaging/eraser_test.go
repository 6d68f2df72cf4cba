package messaging

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
)

// expired is a store with contents to be erased, which fails now and then.
type expired struct {
	times []time.Time
	fail  error
}

func (x *expired) EraseExpired(_ context.Context, now time.Time) (int64, error) {
	x.times = append(x.times, now)
	return 3, x.fail
}

func TestExpiredContentsAreErasedEveryMinuteAndAgainAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		x, m := &expired{fail: errors.New("the store is away")}, NewMetrics(nil)
		e := &Eraser{Store: x, Now: time.Now, Log: slog.New(slog.NewTextHandler(&log, nil)), Metrics: m}
		ctx, cancel := context.WithCancel(t.Context())
		go e.Run(ctx)
		begun := time.Now()
		time.Sleep(eraseEvery * 6 / 5)
		synctest.Wait()
		require.NotEmpty(t, x.times)
		require.EqualValues(t, len(x.times), testutil.ToFloat64(m.notErased))
		require.Contains(t, log.String(), "the store is away")
		x.fail = nil
		log.Reset()
		time.Sleep(10 * eraseEvery)
		synctest.Wait()
		require.Empty(t, log.String())
		require.EqualValues(t, 3*len(x.times), testutil.ToFloat64(m.erased))
		for i, at := range x.times {
			wait := at.Sub(begun)
			require.GreaterOrEqual(t, wait, eraseEvery*4/5, "time %d", i)
			require.LessOrEqual(t, wait, eraseEvery*6/5, "time %d", i)
			begun = at
		}
		before := len(x.times)
		cancel()
		time.Sleep(2 * eraseEvery)
		require.Len(t, x.times, before)
	})
}
