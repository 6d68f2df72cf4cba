package heapfloor

import (
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// idleEvery is how often it is seen whether the process is idle.
	idleEvery = 5 * time.Second
	// idleBytes is what a process allocates at most meanwhile that is idle: at that rate the heap would not be collected for minutes.
	idleBytes = 4 << 20
	// worthwhile is how much there has to be to give back, besides a quarter of what is live, for a collection of its own.
	worthwhile = 8 << 20
)

// usage is what the runtime tells of the heap, in bytes.
type usage struct {
	// allocated is all that has been since the start.
	allocated uint64
	// live is what the last collection found; garbage is, at most, what the next one frees, and free what is not given back to the
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

// idler gives memory back once a process that was busy has become idle: what it has filled up to the floor would stay its own, and
// an idle poll would seem to take twice what it does.
type idler struct {
	last    usage
	measure func() usage
	// giveBack collects the heap and gives what is free to the system.
	giveBack func()
}

func newIdler() *idler {
	return &idler{last: measure(), measure: measure, giveBack: debug.FreeOSMemory}
}

// look sees what has happened since it looked before.
func (i *idler) look() {
	now := i.measure()
	if now.allocated-i.last.allocated <= idleBytes && now.garbage+now.free >= worthwhile+now.live/4 {
		i.giveBack()
		now = i.measure()
	}
	i.last = now
}

// watch looks again and again, for as long as the process lives.
func (i *idler) watch() {
	time.AfterFunc(idleEvery, func() {
		i.look()
		i.watch()
	})
}
