package heapfloor

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestASmallHeapGrowsToTheFloorAndALargeOneByThePercentage(t *testing.T) {
	f := &floor{least: 40, bytes: 100 << 20}
	for _, c := range []struct {
		live uint64
		want int
	}{
		{0, 500}, {10 << 20, 500}, {20 << 20, 400}, {50 << 20, 100}, {80 << 20, 40}, {100 << 20, 40}, {1 << 40, 40},
	} {
		require.Equal(t, c.want, f.percent(c.live), "%d bytes live", c.live)
	}
}

func TestThePercentageFollowsEachCollection(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	adjusted := make(chan int, 1)
	f := &floor{least: 50, bytes: Bytes, adjusted: func(percent int) {
		select {
		case adjusted <- percent:
		default:
		}
	}}
	f.arm()
	kept := make([]byte, Bytes) // above the floor
	next := func() (percent int) {
		for {
			runtime.GC()
			select {
			case percent = <-adjusted:
				return percent
			case <-time.After(time.Millisecond): // cleanups run a moment after the collection
			}
		}
	}
	for next() != 50 {
	}
	runtime.KeepAlive(kept)
	for next() < 200 {
	}
	set := debug.SetGCPercent(100)
	require.Greater(t, set, 150, "what was told was set")
}

func TestTheOperatorsGOGCStands(t *testing.T) {
	t.Setenv("GOGC", "77")
	before := debug.SetGCPercent(77)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	Set(40)
	require.Equal(t, 77, debug.SetGCPercent(77))
}
