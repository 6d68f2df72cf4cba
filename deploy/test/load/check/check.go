// Package check judges a load test: whether each accepted message came to each of its recipients, once, and in the order of positions.
// Unlike historycheck it keeps only a few bytes per delivery, so that it can watch millions.
package check

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Outcome is the result of a send.
type Outcome uint8

const (
	// Unknown means that there was no answer, or that the server reported a failure. The message may come, but at most once.
	Unknown Outcome = iota
	// Accepted means that the message must come.
	Accepted
	// Refused means that the message must not come.
	Refused
)

// maxExamples keeps the verdict on a badly failed run readable.
const maxExamples = 10

// Run is the record of what was sent and what arrived.
type Run struct {
	// ID is in the stamps of the run's messages.
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

// Begin records that a message is about to be sent to the readers with these indexes, and returns its number. It keeps the slice.
func (r *Run) Begin(to []int) uint32 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sends = append(r.sends, send{to: to})
	return uint32(len(r.sends) - 1)
}

// End records the outcome of a send.
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

// Outstanding is the number of deliveries of accepted messages that have not arrived.
func (r *Run) Outstanding() int64 { return r.expected.Load() - r.arrived.Load() }

// Accepted is the number of accepted sends.
func (r *Run) Accepted() int64 { return r.accepted.Load() }

// Arrived is the number of messages that have arrived.
func (r *Run) Arrived() int64 { return r.arrived.Load() }

// Reader returns a reader of the run by its index.
func (r *Run) Reader(index int) *Reader { return r.readers[index] }

// Message is a message as it arrived.
type Message struct {
	Position int64
	Stamp    Stamp
}

// Reader records what one recipient receives. It is for one goroutine.
type Reader struct {
	run   *Run
	index int

	got              []uint32
	disordered, gaps int64
	examples         []string
	position         int64
	begun            bool
}

// Start sets the position that the reader begins after. Without it, the first answer sets it.
func (r *Reader) Start(position int64) { r.position, r.begun = position, true }

// Take records one answer: its messages in order, the positions that it skips, and the position of its cursor. Messages of other runs count
// as positions only.
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
