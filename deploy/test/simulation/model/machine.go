package model

import (
	"cmp"
	"fmt"
	"strings"
)

// Setup is a deployment and what may happen to it: small enough to try all its runs.
type Setup struct {
	Name string
	// Covers says what the setup is for.
	Covers string
	// Inboxes is how many inboxes there are.
	Inboxes uint8
	// Positions is how many an inbox has; 0 for the usual number.
	Positions uint8
	Writers   []Writer
	Readers   []Reader
	// Counter: positions come from a counter, which nodes verify. Without it the sequencer gives any position at any time. That includes
	// whatever a sequencer can do, but then the order of messages is not promised.
	Counter bool
	// SetBack: the counter goes back, or is lost, once. Away: any node may be cut off from the sequencer at any time.
	SetBack, Away bool
	// PowerFailure: all processes die at once, and what was not synced is lost, once.
	PowerFailure bool
	// Ticks is how far the clock runs. A tick is longer than anything that is under way; after one, an entry is long past. Messages are
	// shown for Lifetime, and their ids kept for Retention.
	Ticks, Lifetime, Retention uint8
}

// Writer is one call of Append.
type Writer struct {
	// Key is the client message id, Content what is sent under it.
	Key, Content uint8
	// To has a bit for each inbox that the call sends to.
	To uint8
	// Node is the process that makes the call: it knows whether the counter can be trusted.
	Node uint8
}

// Reader is one client that reads an inbox.
type Reader struct {
	Inbox uint8
	// Latest: the reader begins at the latest position, not at the first.
	Latest bool
}

// machine makes the steps of a setup with one rule broken, or None.
type machine struct {
	Setup
	broken Rule
}

// last is the highest position that a send can have.
func (m *machine) last() uint8 { return cmp.Or(m.Positions, usualPositions) }

func (m *machine) keeps(r Rule) bool { return m.broken != r }

// step describes what happened. It is made for every edge of the graph, but formatted only for the few of a trace.
type step struct {
	text string
	args [4]uint8
	// byReader: it is a step of a reader.
	byReader bool
	// fault is a broken promise that shows in the step itself.
	fault string
}

func did(text string, args ...uint8) step {
	t := step{text: text}
	copy(t.args[:], args)
	return t
}

func (t step) String() string {
	args := make([]any, strings.Count(t.text, "%"))
	for i := range args {
		args[i] = t.args[i]
	}
	return fmt.Sprintf(t.text, args...)
}

// visit is called with each possible step, and the state it leads to.
type visit func(step, state)

// initial is the first state of a setup.
func (m *machine) initial() state {
	var s state
	for r, reader := range m.Readers {
		if reader.Latest {
			s.readers[r] = notBegun
		}
	}
	s.trusting = 1<<maxWriters - 1
	return s
}

// next yields every possible step in a state.
func (m *machine) next(s *state, yield visit) {
	for w := range m.Writers {
		m.writerSteps(s, uint8(w), yield)
	}
	for r := range m.Readers {
		m.readerSteps(s, uint8(r), yield)
	}
	if m.SetBack {
		m.setBack(s, yield)
	}
	if m.PowerFailure {
		m.powerFailure(s, yield)
	}
	if m.Ticks > 0 {
		m.retentionSteps(s, yield)
	}
}

// recipients are the inboxes that a content is sent to under a key.
func (m *machine) recipients(c cell) (to uint8) {
	for _, w := range m.Writers {
		if w.Key == c.key() && w.Content == c.content() {
			to |= w.To
		}
	}
	return to
}
