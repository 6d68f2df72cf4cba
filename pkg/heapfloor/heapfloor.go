// Package heapfloor keeps the garbage collector from running too often on a small heap.
package heapfloor

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Bytes is the size below which the heap is not collected. A busy server with a small heap would fill what Go's percentage allows
// several times a second, and each collection has the same cost of scanning roots and stacks.
const Bytes = 96 << 20

// most is the highest percentage. Live memory may grow a lot in one cycle, and the next percentage is set only when the runtime has
// swept, which a busy machine delays: until then the heap may grow to six times the live memory, not to twenty.
const most = 500

// Set lets the heap grow to Bytes before a collection, but at most to six times the live memory, and above Bytes by percent of the
// live memory. An idle process returns memory that it does not need. GOMEMLIMIT still applies. If GOGC is set in the environment,
// Set does nothing: the operator has decided. Call it once.
func Set(percent int) {
	if os.Getenv("GOGC") != "" {
		return
	}
	f := &floor{least: percent, bytes: Bytes}
	f.adjust()
	f.arm()
	newIdler().watch()
}

// floor computes the collector's percentage from a size.
type floor struct {
	least int
	bytes uint64
	// current is the percentage set last.
	current int
	// adjusted, if set, is called after each adjustment.
	adjusted func(percent int)
}

// sentinel is garbage as soon as it is made: its cleanup signals the end of a collection.
type sentinel struct{ _ *floor }

func (f *floor) arm() {
	runtime.AddCleanup(&sentinel{}, func(f *floor) {
		f.adjust()
		f.arm()
	}, f)
}

// adjust sets the percentage for the current live memory. That stops the world for a moment, so it skips small changes.
func (f *floor) adjust() {
	percent := f.percent(live())
	if change := percent - f.current; f.current == 0 || max(change, -change) > f.current/8 {
		debug.SetGCPercent(percent)
		f.current = percent
	}
	if f.adjusted != nil {
		f.adjusted(percent)
	}
}

// percent returns how far the heap may grow over live, so that it reaches the floor.
func (f *floor) percent(live uint64) int {
	if live >= f.bytes {
		return f.least
	}
	live = max(live, 1<<20) // at the start nothing has been measured
	return max(f.least, min(most, int((f.bytes-live)*100/live)))
}

// live returns what the last collection marked plus stacks and globals: the collector applies its percentage to the sum.
func live() (sum uint64) {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}
	metrics.Read(samples)
	for _, s := range samples {
		sum += s.Value.Uint64()
	}
	return sum
}
