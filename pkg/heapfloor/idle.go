package heapfloor

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// idleEvery is how often the process is checked for being idle.
	idleEvery = 5 * time.Second
	// idleBytes is the most that an idle process allocates in that time: at that rate the heap would not be collected for minutes.
	idleBytes = 4 << 20
	// worthwhile is how much memory must be returnable, plus a quarter of the live memory, to justify an extra collection.
	worthwhile = 8 << 20
)

// usage is the runtime's view of the heap, in bytes.
type usage struct {
	// allocated is the total since the start.
	allocated uint64
	// live is what the last collection found; garbage is at most what the next one frees; free is memory not returned to the
	// system.
	live, garbage, free uint64
}

func measure() usage {
	samples := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
	}
	metrics.Read(samples)
	u := usage{allocated: samples[0].Value.Uint64(), live: samples[2].Value.Uint64(), free: samples[3].Value.Uint64()}
	if objects := samples[1].Value.Uint64(); objects > u.live {
		u.garbage = objects - u.live
	}
	return u
}

// idler returns memory once a busy process has become idle. Otherwise the process would keep what it filled up to the floor, and an
// idle poll would seem to take twice its memory.
type idler struct {
	last    usage
	measure func() usage
	// giveBack collects the heap and returns free memory to the system.
	giveBack func()
}

func newIdler() *idler {
	return &idler{last: measure(), measure: measure, giveBack: debug.FreeOSMemory}
}

// look returns memory if the process has been idle since the last look.
func (i *idler) look() {
	now := i.measure()
	if now.allocated-i.last.allocated <= idleBytes && now.garbage+now.free >= worthwhile+now.live/4 {
		i.giveBack()
		now = i.measure()
	}
	i.last = now
}

// watch calls look regularly, for the life of the process.
func (i *idler) watch() {
	time.AfterFunc(idleEvery, func() {
		i.look()
		i.watch()
	})
}
