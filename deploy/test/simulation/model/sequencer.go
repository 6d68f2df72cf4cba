package model

// A setup with a counter has one inbox: 0. What a call knows of its tail while it takes a position is the tail that it read (up to
// positions), or one of these. See counters.go and tails.go in pkg/inbox.
const (
	// raised: it has raised the counter, and may take one position although its node does not trust the counter.
	raised = positions + 1 + iota
	// mustRead: its entry was refused: the counter lags, whatever its node knows.
	mustRead
	// unread: it takes a position if its node trusts the counter.
	unread

	// untrusting is added to a tail that was read while positions of an earlier sequencer were under way to the store: the tail does not
	// include them.
	untrusting = 8
	// stale is added to a tail that was read before the sequencer changed.
	stale = 16

	// missing means that the counter does not exist.
	missing = 7
)

// takePosition: the call takes a position from the counter.
func (m *machine) takePosition(s *state, w uint8, yield visit) {
	trusting := s.trusting>>m.Writers[w].Node&1 == 1
	switch floor := s.writers[w].floor; {
	case floor == raised, floor == unread && trusting && s.counter != missing:
		for p := s.counter + 1; p <= m.last(); p++ { // other writers took those between, and died
			t := *s
			t.counter = p
			m.fly(&t, w, p)
			yield(did("writer %d takes position %d from the counter", w, p), t)
		}
	case floor == mustRead, floor == unread:
		m.readTail(s, w, yield)
	default:
		m.raise(*s, w, yield)
	}
	if m.Away {
		m.takeAboveTail(s, w, yield)
	}
}

// fly sends an entry to the store.
func (m *machine) fly(s *state, w, p uint8) {
	me := &s.writers[w]
	me.stage, me.floor = placing, 0
	me.entries[0] = placement{how: flying, position: p}
}

// readTail: the call asks the store for the tail that it will raise the counter to.
func (m *machine) readTail(s *state, w uint8, yield visit) {
	first, last := s.tail(0), s.tail(0)
	if !m.keeps(TailsFresh) {
		first = 0
	}
	for tail := first; tail <= last; tail++ {
		t := *s
		me := &t.writers[w]
		me.floor = tail
		if s.early != 0 && m.keeps(PredecessorsOutwaited) {
			me.floor |= untrusting
		}
		yield(did("writer %d reads the tail: %d", w, tail), t)
	}
}

// raise: the call raises the counter to the tail that it read. If the sequencer has not changed since, it may take a position, and its node
// may trust the counter from now on.
func (m *machine) raise(s state, w uint8, yield visit) {
	me := &s.writers[w]
	tail := me.floor &^ (untrusting | stale)
	if s.counter == missing || s.counter < tail {
		s.counter = tail
	}
	switch {
	case me.floor&stale != 0:
		me.floor = unread
	case me.floor&untrusting != 0:
		me.floor = raised
	default:
		me.floor = unread
		s.trusting |= 1 << m.Writers[w].Node
	}
	yield(did("writer %d raises the counter to %d at least", w, tail), s)
}

// takeAboveTail: the node, cut off from the sequencer, takes a position above the tail. It trusts no counter from then on.
func (m *machine) takeAboveTail(s *state, w uint8, yield visit) {
	first := s.tail(0) + 1
	last := first
	if !m.keeps(GapsNotLeftAboveCounters) {
		last = m.last() // sends that came together with this one took the positions between, and died
	}
	for p := first; p <= min(last, m.last()); p++ {
		t := *s
		t.trusting &^= 1 << m.Writers[w].Node
		m.fly(&t, w, p)
		yield(did("writer %d takes position %d above the tail, without the sequencer", w, p), t)
	}
}

// The accidents, each of which happens once.
const (
	wasSetBack = 1 << iota
	wasLost
	powerFailed
)

// setBack: the sequencer restarts with an older copy of the counter, or without it, and every node notices the change.
func (m *machine) setBack(s *state, yield visit) {
	if s.accidents&wasSetBack == 0 {
		for older := range s.counter {
			if s.counter != missing {
				yield(did("the counter goes back to %d", older), m.another(*s, older))
			}
		}
		yield(did("the counter is lost"), m.another(*s, missing))
	}
	if !m.keeps(CountersNotLostAlone) && s.accidents&wasLost == 0 {
		t := *s
		t.counter = missing
		t.accidents |= wasLost
		yield(did("the counter is lost, and nobody sees that"), t)
	}
}

// another changes the sequencer.
func (m *machine) another(s state, counter uint8) state {
	s.counter = counter
	s.accidents |= wasSetBack
	if !m.keeps(DoubtfulCountersRaised) {
		return s
	}
	s.trusting, s.early = 0, 0
	for w := range s.writers {
		me := &s.writers[w]
		switch {
		case me.entries[0].how == flying:
			s.early |= 1 << w
		case me.stage != taking, me.floor == mustRead, me.floor == unread:
		case me.floor == raised:
			me.floor = unread
		default:
			me.floor |= stale
		}
	}
	return s
}

// powerFailure: all processes die, and the disk holds what was synced and a part of what was not. (A real disk keeps what was written
// first. The model loses any part of it, which is more than can happen.)
func (m *machine) powerFailure(s *state, yield visit) {
	if s.accidents&powerFailed != 0 {
		return
	}
	t := *s
	t.accidents |= powerFailed
	for w := range t.writers {
		switch me := &t.writers[w]; {
		case me.stage.underWay(), me.stage == failed:
			*me = writer{stage: failed}
		case me.stage == acknowledged:
			clear(me.entries[:])
		}
	}
	for lost := s.unsynced; ; lost = (lost - 1) & s.unsynced {
		yield(did("the power fails: all processes die"), lose(t, lost))
		if lost == 0 {
			return
		}
	}
}

// lose removes entries.
func lose(s state, lost uint8) state {
	for u := range s.entries {
		for p := range s.entries[u] {
			if lost>>(u*positions+p)&1 == 1 {
				s.entries[u][p], s.writtenAt[u][p] = nothing, 0
			}
		}
	}
	s.unsynced = 0
	return s
}
