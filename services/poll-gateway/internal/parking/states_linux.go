package parking

// state is the state of a Spot.
type state uint8

const (
	// fresh: taken over, and not watched yet.
	fresh state = iota
	// waiting: the handler waits; the client and the deadline are watched.
	waiting
	// writing: the kernel has not taken all bytes of the handler yet.
	writing
	// written: the write has ended or failed; the handler decides what is next.
	written
	// idle: the handler has left; the Lot waits for the client's next request.
	idle
	// lingering: our side is closed, the client's is not.
	lingering
	// ended: the descriptor is closed or handed back.
	ended

	states
)

// step is an event that moves a Spot from one state to another.
type step uint8

const (
	// toWait and toWrite: the handler calls Wait or Write.
	toWait step = iota
	toWrite
	// wrote: a write has ended or failed.
	wrote
	// keeps and closes: the handler calls Release, with keep or without.
	keeps
	closes
	// clientGone and timeUp: the client has closed the connection; the deadline has passed.
	clientGone
	timeUp

	steps
)

const (
	// ignored marks a step without effect in a state: no step leads back to fresh.
	ignored = fresh
	// told marks a step of which the handler is told. The state stays: the handler decides what is next.
	told = states
)

// transitions is the state machine of a Spot. If two steps happen at the same instant, the second one has no effect.
var transitions = [states][steps]state{
	fresh:     {toWait: waiting, toWrite: writing, keeps: ended, closes: ended},
	waiting:   {toWait: waiting, toWrite: writing, keeps: ended, closes: ended, clientGone: told, timeUp: told},
	writing:   {wrote: written, timeUp: written},
	written:   {toWait: waiting, toWrite: writing, keeps: idle, closes: lingering},
	idle:      {clientGone: ended, timeUp: ended},
	lingering: {clientGone: ended, timeUp: ended},
	ended:     {},
}

// move takes a step, and reports whether it has an effect in the present state. s.mu is held.
func (s *Spot) move(e step) bool {
	next := transitions[s.state][e]
	if next != ignored && next != told {
		s.state = next
	}
	return next != ignored
}
