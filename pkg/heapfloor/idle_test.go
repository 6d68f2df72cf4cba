package heapfloor

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnIdleProcessGivesBackWhatItDoesNotNeedOnce(t *testing.T) {
	var now usage
	given := 0
	i := &idler{measure: func() usage { return now }, giveBack: func() { given++; now.garbage, now.free = 0, 0 }}
	busy := usage{allocated: 100 << 20, garbage: 60 << 20, free: 10 << 20}
	now = busy
	i.look()
	require.Zero(t, given, "it is busy")

	now.allocated += idleBytes
	i.look()
	require.Equal(t, 1, given)
	i.look()
	require.Equal(t, 1, given, "there is nothing to give back")

	now.garbage = worthwhile - 1
	i.look()
	require.Equal(t, 1, given, "it is not worth it")
	now.free = 1
	i.look()
	require.Equal(t, 2, given)

	now.live, now.garbage = 80<<20, 20<<20
	i.look()
	require.Equal(t, 2, given, "a large heap is not collected for little")
	now.garbage += worthwhile
	i.look()
	require.Equal(t, 3, given)
}

func TestGarbageIsSeenAndGivenBack(t *testing.T) {
	runtime.GC()
	i := newIdler()
	i.giveBack()
	before := i.measure()
	kept := make([][]byte, 0, 64)
	for range cap(kept) {
		kept = append(kept, make([]byte, 1<<20))
	}
	runtime.KeepAlive(kept)
	filled := i.measure()
	require.GreaterOrEqual(t, filled.allocated-before.allocated, uint64(64<<20))
	i.giveBack()
	after := i.measure()
	require.Less(t, after.garbage+after.free, uint64(worthwhile))
}
