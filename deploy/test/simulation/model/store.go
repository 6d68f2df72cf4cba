package model

// The store: every insert of one document is atomic, and refused if the place is taken. See store.Log.

// insertEntry writes c at a position, and reports whether it did.
func (m *machine) insertEntry(s *state, u, p uint8, c cell) bool {
	if s.at(u, p) != nothing && m.keeps(PositionsWriteOnce) {
		return false
	}
	s.entries[u][p-1] = c
	s.writtenAt[u][p-1] = s.clock
	m.sync(s, u, p, c)
	return true
}

// sync models the disk after a transaction with one entry. Prepared entries are not synced (deploy/decisions, unsynced-entries); a sync
// also covers everything written before it.
func (m *machine) sync(s *state, u, p uint8, c cell) {
	if !m.PowerFailure {
		return
	}
	decided := c.isMessage() && s.messages[c.id()] != nothing
	if c == tombstone || decided && m.keeps(DecidedEntriesSynced) {
		s.unsynced = 0
		return
	}
	s.unsynced |= 1 << (u*positions + p - 1)
}

// insertMessage writes c under a message id, with the places that it names, and reports whether it did.
func (m *machine) insertMessage(s *state, id uint8, c cell, named places) bool {
	if s.messages[id] != nothing && m.keeps(MessagesWriteOnce) {
		return false
	}
	s.messages[id], s.named[id] = c, named
	s.createdAt[id], s.keptUntil[id] = s.clock, s.clock+m.idKeptFor(c)
	s.unsynced = 0
	return true
}

// keep extends how long what stands under an id is kept, to until at least. A message's content goes no later for that.
func (m *machine) keep(s *state, id, until uint8) {
	if s.messages[id] != nothing {
		s.keptUntil[id] = max(s.keptUntil[id], until)
	}
}

// judge returns what a reader sees at a position: a message, a tombstone (for everything that is empty and stays so), or nothing while the
// position is undecided. See judge in pkg/inbox.
func (m *machine) judge(s *state, u, p uint8) cell {
	entry := s.at(u, p)
	if !entry.isMessage() {
		return entry
	}
	if m.expired(s, u, p) {
		return tombstone
	}
	standing := s.messages[entry.id()]
	if standing.isMessage() && s.named[entry.id()][u] != p && m.keeps(PlacesNamed) {
		return tombstone
	}
	return standing
}

// expired reports whether an entry's message is no longer shown.
func (m *machine) expired(s *state, u, p uint8) bool {
	return m.Ticks > 0 && s.writtenAt[u][p-1]+m.Lifetime <= s.clock
}

// erased reports whether a message has lost its content.
func (m *machine) erased(s *state, c cell) bool {
	return m.Ticks > 0 && s.createdAt[c.id()]+m.Lifetime <= s.clock
}
