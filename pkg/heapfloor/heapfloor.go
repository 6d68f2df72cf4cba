// Package heapfloor keeps the garbage collector from running again and again over a small heap.
package heapfloor

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Bytes is the size below which a heap is not collected. A server that holds little and is busy would fill what Go's own
// percentage allows several times a second, and each collection costs the same roots and stacks.
const Bytes = 96 << 20

// most is the highest percentage. What is live may grow by much in one collection, and the next percentage is set only when the
// runtime has swept, which a busy machine puts off: until then the heap may grow to six times what is live, and not to twenty.
const most = 500

// Set has the heap grow to Bytes before it is collected, as far as that is no more than six times what is live, and beyond that
// by percent of what is live. A process that is idle gives back what it does not need. GOMEMLIMIT holds all the same. With GOGC in the
// environment, Set does nothing: the operator has decided. It is to be called once.
func Set(percent int) {
	if os.Getenv("GOGC") != "" {
		return
	}
	f := &floor{least: percent, bytes: Bytes}
	f.adjust()
	f.arm()
	newIdler().watch()
}

// floor turns a size into the percentage that the collector takes.
type floor struct {
	least int
	bytes uint64
	// current is the percentage that was set last.
	current int
	// adjusted, if set, is called after each time.
	adjusted func(percent int)
}

// sentinel is garbage as soon as it is made: that it is found to be tells of the end of a collection.
type sentinel struct{ _ *floor }

func (f *floor) arm() {
	runtime.AddCleanup(&sentinel{}, func(f *floor) {
		f.adjust()
		f.arm()
	}, f)
}

// adjust sets the percentage for what is live now. It stops the world for a moment, so small changes are left.
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

// percent is by how much the heap may grow over what is live, so that it reaches the floor.
func (f *floor) percent(live uint64) int {
	if live >= f.bytes {
		return f.least
	}
	live = max(live, 1<<20) // at the start nothing has been counted
	return max(f.least, min(most, int((f.bytes-live)*100/live)))
}

// live is what the last collection marked, and what it scans besides: the collector counts its percentage of both.
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
