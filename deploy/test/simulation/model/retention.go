package model

// retentionSteps yields the ticks of the clock, and the removals that they make due, in any order. Entries may be kept a tick longer than
// ids: nothing depends on it.
func (m *machine) retentionSteps(s *state, yield visit) {
	overdue := false
	for u := range m.Inboxes {
		for p := uint8(1); p <= positions; p++ {
			if s.at(u, p) != nothing && s.writtenAt[u][p-1]+m.Retention <= s.clock {
				t := *s
				t.entries[u][p-1], t.writtenAt[u][p-1] = nothing, 0
				t.removed[u] = max(t.removed[u], p)
				yield(did("retention removes position %d of inbox %d", p, u), t)
				overdue = overdue || s.writtenAt[u][p-1]+m.Retention < s.clock
			}
		}
	}
	for id := range uint8(maxIDs) {
		if s.messages[id] != nothing && s.keptUntil[id] <= s.clock {
			t := *s
			t.messages[id], t.named[id] = nothing, places{}
			t.createdAt[id], t.keptUntil[id] = 0, 0
			yield(did("retention removes what stands under id %d", id), t)
			overdue = true
		}
	}
	if s.clock < m.Ticks && !overdue && (m.quiet(s) || !m.keeps(NothingUnderWayIsOld)) {
		yield(did("a long time passes"), m.tick(*s))
	}
}

// quiet reports whether no call is under way. Inserts still under way are then lost.
func (m *machine) quiet(s *state) bool {
	for w := range m.Writers {
		if s.writers[w].stage.underWay() {
			return false
		}
	}
	return true
}

// idKeptFor is how long what stands under a message id is kept at least.
func (m *machine) idKeptFor(c cell) uint8 {
	if c.isMessage() && !m.keeps(IDsKeptForRetention) {
		return m.Lifetime
	}
	return m.Retention
}

func (m *machine) tick(s state) state {
	s.clock++
	for w := range m.Writers {
		if me := &s.writers[w]; me.stage.ended() && m.keeps(NothingUnderWayIsOld) {
			*me = writer{stage: me.stage, attempt: me.attempt}
		}
	}
	for _, c := range s.messages {
		if c.isMessage() && s.createdAt[c.id()]+m.Retention <= s.clock {
			s.forgotten |= 1 << c.key()
		}
	}
	return s
}
