// Package check judges a load test: whether each accepted message came to each of its recipients, once, and in the
// order of positions. Unlike historycheck it keeps a few bytes a delivery, so that it can watch millions of them.
package check

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Outcome is how a send ended.
type Outcome uint8

const (
	// Unknown means that there was no answer, or the server said that it failed. The message may come, but at most once.
	Unknown Outcome = iota
	// Accepted means that it must come.
	Accepted
	// Refused means that it must not come.
	Refused
)

// maxExamples keeps a run that went thoroughly wrong readable.
const maxExamples = 10

// Run is what was sent and what arrived.
type Run struct {
	// ID stands in the stamps of the run's messages.
	ID uint32

	mu      sync.Mutex
	sends   []send
	readers []*Reader

	accepted, expected, arrived atomic.Int64
}

type send struct {
	to      []int
	outcome Outcome
}

// NewRun makes a run with a number of readers.
func NewRun(id uint32, readers int) *Run {
	r := &Run{ID: id, readers: make([]*Reader, readers)}
	for i := range r.readers {
		r.readers[i] = &Reader{run: r, index: i}
	}
	return r
}

// Begin notes that a message is about to be sent to the readers with these indexes, and returns its number. The slice
// is kept.
func (r *Run) Begin(to []int) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sends = append(r.sends, send{to: to})
	return uint32(len(r.sends) - 1)
}

// End notes how a send ended.
func (r *Run) End(n uint32, o Outcome) {
	r.mu.Lock()
	s := &r.sends[n]
	s.outcome = o
	r.mu.Unlock()
	if o == Accepted {
		r.accepted.Add(1)
		r.expected.Add(int64(len(s.to)))
	}
}

// Outstanding is how many deliveries of accepted messages have not arrived.
func (r *Run) Outstanding() int64 { return r.expected.Load() - r.arrived.Load() }

// Accepted is how many sends have been accepted.
func (r *Run) Accepted() int64 { return r.accepted.Load() }

// Arrived is how many messages have arrived.
func (r *Run) Arrived() int64 { return r.arrived.Load() }

// Reader is one reader of the run, by its index.
func (r *Run) Reader(index int) *Reader { return r.readers[index] }

// Message is a message as it arrived.
type Message struct {
	Position int64
	Stamp    Stamp
}

// Reader takes in what one recipient is given. It is for one goroutine.
type Reader struct {
	run   *Run
	index int

	got              []uint32
	disordered, gaps int64
	examples         []string
	position         int64
	begun            bool
}

// Start says which position the reader begins after. Without it, the first answer says so.
func (r *Reader) Start(position int64) { r.position, r.begun = position, true }

// Take takes in one answer: its messages in their order, the positions that it says hold nothing, and the position of
// its cursor. Messages of other runs count as positions only.
func (r *Reader) Take(messages []Message, skipped []int64, cursor int64) {
	if !r.begun {
		r.Start(cursor - int64(len(messages)+len(skipped)))
	}
	last := r.position
	for _, m := range messages {
		if m.Position <= last {
			r.disordered++
			r.example("reader %d was given position %d after %d", r.index, m.Position, last)
		}
		last = max(last, m.Position)
		if m.Stamp.Run == r.run.ID {
			r.got = append(r.got, m.Stamp.N)
			r.run.arrived.Add(1)
		}
	}
	if accounted := int64(len(messages) + len(skipped)); cursor-r.position != accounted {
		r.gaps++
		r.example("reader %d was after %d, was told of %d positions and to go on from %d", r.index, r.position, accounted, cursor)
	}
	r.position = cursor
}

func (r *Reader) example(format string, args ...any) {
	if len(r.examples) < maxExamples {
		r.examples = append(r.examples, fmt.Sprintf(format, args...))
	}
}
