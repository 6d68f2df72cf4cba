package model

// The store: every insert of one document is atomic, and refused where something stands. See store.Log.

// insertEntry writes what is to stand at a position. It returns where the inbox holds an entry of that message already, or
// that the position is taken; if neither, it has written.
func (m *machine) insertEntry(s *state, u, p uint8, c cell) (held uint8, taken bool) {
	if c.isMessage() && m.keeps(OneEntryAMessage) {
		if held := s.find(u, c.id()); held != 0 {
			return held, false
		}
	}
	if s.at(u, p) != nothing && m.keeps(PositionsWriteOnce) {
		return 0, true
	}
	s.entries[u][p-1] = c
	s.writtenAt[u][p-1] = s.clock
	m.sync(s, u, p, c)
	return 0, false
}

// sync does to the disk what a transaction with one entry does. Prepared entries are not synced (deploy/decisions,
// unsynced-entries); what is synced takes all before it along.
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

// insertMessage writes what is to stand at a message id, and reports whether it did.
func (m *machine) insertMessage(s *state, id uint8, c cell) bool {
	if s.messages[id] != nothing && m.keeps(MessagesWriteOnce) {
		return false
	}
	s.messages[id] = c
	s.createdAt[id] = s.clock
	s.unsynced = 0
	return true
}

// judge says what stands at a position, as a reader sees it: a message, a tombstone (which stands for everything that is
// empty and will stay so), or nothing, while that is not decided. See judge in pkg/inbox.
func (m *machine) judge(s *state, u, p uint8) cell {
	entry := s.at(u, p)
	if !entry.isMessage() {
		return entry
	}
	if m.expired(s, u, p) {
		return tombstone
	}
	standing := s.messages[entry.id()]
	if standing.isMessage() && standing != entry && m.keeps(DigestsMatch) {
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
