package model

// retentionSteps are the clock, and what it makes the store remove, in any order.
func (m *machine) retentionSteps(s *state, yield visit) {
	overdue := false
	for u := range m.Inboxes {
		for p := uint8(1); p <= positions; p++ {
			if s.at(u, p) != nothing && s.writtenAt[u][p-1]+m.entriesKeptFor() <= s.clock {
				t := *s
				t.entries[u][p-1], t.writtenAt[u][p-1] = nothing, 0
				t.removed[u] = max(t.removed[u], p)
				yield(did("retention removes position %d of inbox %d", p, u), t)
				overdue = true
			}
		}
	}
	for id := range uint8(maxIDs) {
		if s.messages[id] != nothing && s.createdAt[id]+m.idKeptFor(s.messages[id]) <= s.clock {
			t := *s
			t.messages[id], t.createdAt[id] = nothing, 0
			yield(did("retention removes what stands under id %d", id), t)
			overdue = true
		}
	}
	if s.clock < m.Ticks && !overdue && (m.quiet(s) || !m.keeps(NothingUnderWayIsOld)) {
		yield(did("a long time passes"), m.tick(*s))
	}
}

// quiet reports that no call is under way. Inserts that are still on their way are lost then.
func (m *machine) quiet(s *state) bool {
	for w := range m.Writers {
		if s.writers[w].stage.underWay() {
			return false
		}
	}
	return true
}

// idKeptFor is for how long what stands under a message id is kept.
func (m *machine) idKeptFor(c cell) uint8 {
	if c.isMessage() && !m.keeps(IDsKeptForRetention) {
		return m.Lifetime
	}
	return m.Retention
}

// entriesKeptFor is for how long entries are kept.
func (m *machine) entriesKeptFor() uint8 {
	if !m.keeps(EntriesOutliveIDs) {
		return m.Retention
	}
	return m.Retention + 1
}

func (m *machine) tick(s state) state {
	s.clock++
	for w := range m.Writers {
		if me := &s.writers[w]; me.stage.ended() && m.keeps(NothingUnderWayIsOld) {
			me.flying = 0
			clear(me.entries[:])
		}
	}
	for _, c := range s.messages {
		if c.isMessage() && s.createdAt[c.id()]+m.Retention <= s.clock {
			s.forgotten |= 1 << c.key()
		}
	}
	return s
}

// renew makes a tombstone that is passed as young as what it is passed for.
func (m *machine) renew(s *state, id, at uint8) {
	if s.messages[id] == tombstone && m.keeps(PassedTombstonesRenewed) {
		s.createdAt[id] = max(s.createdAt[id], at)
	}
}
