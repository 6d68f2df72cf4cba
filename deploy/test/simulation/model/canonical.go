package model

import "slices"

// canonical merges states that differ only in ways without effect.
func (m *machine) canonical(s *state) {
	for w := range m.Writers {
		m.tidy(s, uint8(w))
	}
	m.level(s)
	if m.twins() {
		m.mirror(s)
	}
}

// settled reports whether an id is decided for good. With a clock it never is: what stands there may be purged before a late write arrives.
func (m *machine) settled(s *state, id uint8) bool {
	return s.messages[id] != nothing && m.keeps(MessagesWriteOnce) && m.Ticks == 0
}

// tidy clears the parts of a call that have no effect any more: positions that no message will name; and, if the call has ended, inserts
// that would be refused, and events that agree with the store.
func (m *machine) tidy(s *state, w uint8) {
	me := &s.writers[w]
	settled := m.settled(s, m.id(s, w))
	if me.stage == aborting && settled {
		me.flying &^= messageFlying // it would be refused, and nobody waits for the answer
	}
	if me.stage.ended() && settled {
		me.flying = 0
	}
	if me.stage >= committed && me.flying&messageFlying == 0 {
		me.forgetStanding()
	}
	if me.stage.ended() {
		m.tidyEnded(s, w)
	}
}

// forgetStanding clears where entries stand.
func (w *writer) forgetStanding() {
	for u := range w.entries {
		if w.entries[u].how != flying {
			w.entries[u] = placement{}
		}
	}
}

func (m *machine) tidyEnded(s *state, w uint8) {
	me := &s.writers[w]
	me.floor = 0
	useful := me.flying != 0 || me.stage == acknowledged
	for u := range me.entries {
		e := &me.entries[u]
		if e.how == flying && !m.mayArrive(s, w, uint8(u)) {
			*e = placement{}
			s.early &^= 1 << w
		}
		if p := me.announced[u]; p != 0 && m.judge(s, uint8(u), p) == m.message(s, w) {
			me.announced[u] = 0
		}
		useful = useful || e.how == flying
	}
	if !useful {
		me.attempt = 0
	}
}

// mayArrive reports whether an entry under way may still be written.
func (m *machine) mayArrive(s *state, w, u uint8) bool {
	if m.Ticks > 0 {
		return true
	}
	for p := uint8(1); p <= m.last(); p++ {
		of := s.writers[w].entries[u].position
		if (of == 0 || of == p) && (s.at(u, p) == nothing || !m.keeps(PositionsWriteOnce)) {
			return true
		}
	}
	return false
}

// level replaces entries that can never count by tombstones.
func (m *machine) level(s *state) {
	for u := range m.Inboxes {
		for p := uint8(1); p <= positions; p++ {
			if c := s.at(u, p); c.isMessage() && m.settled(s, c.id()) && m.judge(s, u, p) == tombstone {
				s.entries[u][p-1] = tombstone
			}
		}
	}
}

// twins reports whether the first two writers differ in their keys at most. Then each can do what the other does.
func (m *machine) twins() bool {
	if m.Counter || m.Ticks > 0 || len(m.Writers) < 2 {
		return false
	}
	a, b := m.Writers[0], m.Writers[1]
	third := len(m.Writers) > 2 && a.Key != b.Key
	return a.Content == b.Content && a.To == b.To && a.Node == b.Node && !third
}

// mirror maps a state and its mirror image to one state.
func (m *machine) mirror(s *state) {
	mirrored := *s
	mirrored.writers[0], mirrored.writers[1] = s.writers[1], s.writers[0]
	if m.Writers[0].Key != m.Writers[1].Key {
		swapKeys(&mirrored)
	}
	if less(&mirrored, s) {
		*s = mirrored
	}
}

// swapKeys swaps the two keys. (Twins have no counter, so the order of keys does not matter; and no clock, so times do not.)
func swapKeys(s *state) {
	for u := range s.entries {
		for p := range s.entries[u] {
			s.entries[u][p] = swapped(s.entries[u][p])
			s.told[u][p] = swapped(s.told[u][p])
		}
	}
	for id := range uint8(attempts) {
		s.messages[id], s.messages[id+attempts] = swapped(s.messages[id+attempts]), swapped(s.messages[id])
		s.named[id], s.named[id+attempts] = s.named[id+attempts], s.named[id]
	}
}

func swapped(c cell) cell {
	if !c.isMessage() {
		return c
	}
	return messageCell((c.id()+attempts)%maxIDs, c.content())
}

// less orders a state and its mirror image by the fields that can differ.
func less(a, b *state) bool {
	for w := range a.writers {
		if x, y := a.writers[w].rank(), b.writers[w].rank(); x != y {
			return x < y
		}
	}
	for id := range a.messages {
		if x, y := a.messages[id], b.messages[id]; x != y {
			return x < y
		}
		if x, y := a.named[id], b.named[id]; x != y {
			return slices.Compare(x[:], y[:]) < 0
		}
	}
	for u := range a.entries {
		for p := range a.entries[u] {
			if x, y := a.entries[u][p], b.entries[u][p]; x != y {
				return x < y
			}
			if x, y := a.told[u][p], b.told[u][p]; x != y {
				return x < y
			}
		}
	}
	return false
}

// rank is a number that identifies a writer's state.
func (w *writer) rank() uint64 {
	n := uint64(w.stage)<<4 | uint64(w.attempt)<<2 | uint64(w.flying)
	for u, e := range w.entries {
		n = n<<12 | uint64(e.how)<<8 | uint64(e.position)<<4 | uint64(w.announced[u])
	}
	return n<<8 | uint64(w.floor)
}
