package model

import (
	"hash/maphash"
	"slices"
)

// Result is the result of an exploration.
type Result struct {
	// States and Steps are the numbers seen: all that exist, unless there is a Fault.
	States, Steps int
	// Fault is the broken promise, and Trace the shortest sequence of steps to it.
	Fault string
	Trace []string
}

// Explore tries all runs of a setup with one rule broken, or None, until one breaks a promise.
func Explore(setup Setup, broken Rule) Result {
	m := &machine{Setup: setup, broken: broken}
	x := &explorer{machine: m, seen: newTable()}
	return x.run()
}

// explorer traverses the graph of states breadth first.
type explorer struct {
	*machine
	seen *table
	// from is the state that each state was first reached from.
	from []int32
	// readersOn are the steps of readers, as pairs of states.
	readersOn [][2]int32
	steps     int
	// fault is the first one found: by a step taken in state at, or, if stuck, in that state itself.
	fault string
	stuck bool
	at    int32
}

func (x *explorer) run() Result {
	first := x.initial()
	x.seen.add(&first)
	x.from = append(x.from, -1)
	for i := int32(0); int(i) < x.seen.size && x.fault == ""; i++ {
		s := x.seen.at(i)
		x.next(s, func(t step, to state) { x.edge(i, t, to) })
	}
	if x.fault == "" {
		x.checkProgress()
	}
	result := Result{States: x.seen.size, Steps: x.steps, Fault: x.fault}
	if x.fault != "" {
		var end state
		result.Trace, end = x.trace(x.at)
		result.Trace = append(result.Trace, x.lastWords(&end))
	}
	return result
}

// edge records a step from one state to another.
func (x *explorer) edge(i int32, t step, to state) {
	if x.fault != "" {
		return
	}
	x.steps++
	x.canonical(&to)
	j, added := x.seen.add(&to)
	if added {
		x.from = append(x.from, i)
	}
	if t.byReader {
		x.readersOn = append(x.readersOn, [2]int32{i, j})
	}
	fault := t.fault
	if fault == "" && added {
		fault = x.check(&to)
	}
	if fault != "" {
		x.fault, x.at = fault, i
	}
}

// checkProgress looks for a state from which readers alone cannot reach the tail.
func (x *explorer) checkProgress() {
	ends := make([]bool, x.seen.size)
	for i := range ends {
		ends[i] = x.allRead(x.seen.at(int32(i)))
	}
	for changed := true; changed; {
		changed = false
		for _, e := range slices.Backward(x.readersOn) {
			if ends[e[1]] && !ends[e[0]] {
				ends[e[0]], changed = true, true
			}
		}
	}
	if stuck := slices.Index(ends, false); stuck >= 0 {
		x.fault, x.at = "a reader is stuck", int32(stuck)
		x.stuck = true
	}
}

// allRead reports whether all readers have read everything.
func (m *machine) allRead(s *state) bool {
	for r, reader := range m.Readers {
		if s.readers[r] == notBegun || s.readers[r] < s.tail(reader.Inbox) {
			return false
		}
	}
	return true
}

// trace describes the path to a state. It replays the path from the start, because writers may have changed places in canonical states.
func (x *explorer) trace(to int32) (words []string, end state) {
	var way []int32
	for ; x.from[to] >= 0; to = x.from[to] {
		way = append(way, to)
	}
	s := x.initial()
	for _, i := range slices.Backward(way) {
		t, next := x.find(&s, func(_ step, next state) bool {
			x.canonical(&next)
			return next == *x.seen.at(i)
		})
		words, s = append(words, t.String()), next
	}
	return words, s
}

// lastWords describes the step that showed the fault.
func (x *explorer) lastWords(s *state) string {
	if x.stuck {
		return "whatever readers do from here on, by themselves, one of them does not come to the tail"
	}
	t, _ := x.find(s, func(t step, next state) bool { return t.fault == x.fault || x.check(&next) == x.fault })
	return t.String()
}

// find returns the first possible step for which pleases returns true.
func (x *explorer) find(s *state, pleases func(step, state) bool) (t step, next state) {
	found := false
	x.next(s, func(u step, to state) {
		if !found && pleases(u, to) {
			t, next, found = u, to, true
		}
	})
	return t, next
}

// table is a set of states, in the order in which they were added.
type table struct {
	// pages hold the states, so that growing moves none.
	pages [][]state
	size  int
	// slots hold the upper half of a state's hash, and its index plus one.
	slots []uint64
	seed  maphash.Seed
}

const (
	pageBits  = 16
	indexMask = 1<<32 - 1
)

func newTable() *table { return &table{slots: make([]uint64, 1<<12), seed: maphash.MakeSeed()} }

// at returns a state by its index.
func (t *table) at(i int32) *state { return &t.pages[i>>pageBits][i&(1<<pageBits-1)] }

// add returns the index of a state, and whether it was new.
func (t *table) add(s *state) (index int32, added bool) {
	if 2*t.size >= len(t.slots) {
		t.grow()
	}
	hash := maphash.Comparable(t.seed, *s)
	for i := hash; ; i++ {
		slot := &t.slots[i&uint64(len(t.slots)-1)]
		if *slot == 0 {
			*slot = hash&^indexMask | uint64(t.size+1)
			return t.push(s), true
		}
		if at := int32(*slot&indexMask) - 1; (*slot^hash)&^indexMask == 0 && *t.at(at) == *s {
			return at, false
		}
	}
}

func (t *table) push(s *state) (index int32) {
	if t.size>>pageBits == len(t.pages) {
		t.pages = append(t.pages, make([]state, 1<<pageBits))
	}
	index = int32(t.size)
	*t.at(index) = *s
	t.size++
	return index
}

func (t *table) grow() {
	t.slots = make([]uint64, 2*len(t.slots))
	for at := range int32(t.size) {
		hash := maphash.Comparable(t.seed, *t.at(at))
		i := hash
		for t.slots[i&uint64(len(t.slots)-1)] != 0 {
			i++
		}
		t.slots[i&uint64(len(t.slots)-1)] = hash&^indexMask | uint64(at+1)
	}
}
