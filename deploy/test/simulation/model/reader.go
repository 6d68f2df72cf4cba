package model

import "cmp"

// readerSteps yields a reader's next steps: read on, abort what is undecided (the timeout may pass at any time), or go on waiting. See
// scan, passGap and decide in pkg/inbox.
func (m *machine) readerSteps(s *state, r uint8, yield visit) {
	u, cursor := m.Readers[r].Inbox, s.readers[r]
	if cursor == notBegun {
		m.beginLatest(*s, r, yield)
		return
	}
	m.takeEvents(s, r, yield)
	if !m.keeps(NeverRewinds) && cursor > 0 && s.above(u, cursor-1) == 0 {
		t := *s
		t.readers[r] = 0
		yield(step{text: "reader %d finds nothing at its cursor %d, and begins anew", args: [4]uint8{r, cursor},
			byReader: true, fault: "a reader is given once more what it had"}, t)
	}
	next := cursor + 1
	if next > positions {
		return
	}
	switch entry := s.at(u, next); {
	case entry == nothing:
		m.passGap(s, r, yield)
	case !m.keeps(KeptIsWhatWasRead) && s.passing>>r&1 == 1:
		m.tell(*s, r, next, tombstone, "reader %d of inbox %d keeps what stands under the id now, and passes position %d", yield)
	case !m.keeps(KeptIsWhatWasRead) && entry.isMessage() && m.judge(s, u, next) == tombstone:
		t := *s
		t.passing |= 1 << r
		yield(readerDid("reader %d of inbox %d reads position %d, which does not count", r, u, next), t)
	case m.judge(s, u, next) != nothing:
		m.tell(*s, r, next, m.judge(s, u, next), "reader %d of inbox %d reads position %d", yield)
	case !m.keeps(PreparedAborted):
		m.tell(*s, r, next, tombstone, "reader %d of inbox %d passes the prepared entry at position %d", yield)
	default:
		t := *s
		m.insertMessage(&t, entry.id(), tombstone, places{})
		yield(readerDid("reader %d aborts the entry at %d of inbox %d, writing a tombstone under id %d", r, next, u, entry.id()), t)
	}
}

func readerDid(text string, args ...uint8) step {
	t := did(text, args...)
	t.byReader = true
	return t
}

// passGap: nothing stands at the reader's next position.
func (m *machine) passGap(s *state, r uint8, yield visit) {
	u, cursor := m.Readers[r].Inbox, s.readers[r]
	neighbor := s.above(u, cursor)
	switch {
	case neighbor == 0 && s.removed[u] > cursor:
		if m.keeps(GoesOnBehindRemoved) {
			m.skip(*s, r, s.removed[u], "reader %d of inbox %d goes on at %d, up to where all was removed", yield)
		}
	case neighbor == 0: // it waits
	case m.longPast(s, u, neighbor):
		m.skip(*s, r, neighbor-1, "reader %d of inbox %d skips to %d, below an entry of long ago", yield)
	case !m.keeps(HolesFilled):
		m.skip(*s, r, neighbor-1, "reader %d of inbox %d passes the hole up to %d", yield)
	default:
		t := *s
		m.insertEntry(&t, u, cursor+1, tombstone)
		yield(readerDid("reader %d fills the hole in inbox %d, writing a tombstone at %d", r, u, cursor+1), t)
	}
}

// longPast reports whether an entry is so old that nothing is under way below it.
func (m *machine) longPast(s *state, u, p uint8) bool { return s.writtenAt[u][p-1] < s.clock }

// skip moves a reader on over positions where nothing stands.
func (m *machine) skip(s state, r, upTo uint8, text string, yield visit) {
	u := m.Readers[r].Inbox
	t := readerDid(text, r, u, upTo)
	for p := s.readers[r] + 1; p <= upTo; p++ {
		t.fault = cmp.Or(t.fault, m.note(&s, u, p, tombstone))
	}
	s.readers[r] = upTo
	yield(t, s)
}

// tell tells a reader what is at its next position.
func (m *machine) tell(s state, r, p uint8, what cell, text string, yield visit) {
	u := m.Readers[r].Inbox
	t := readerDid(text, r, u, p)
	t.fault = m.note(&s, u, p, what)
	if what.isMessage() && m.erased(&s, what) {
		t.fault = "a reader is given a message that has lost its content"
	}
	s.readers[r] = p
	s.passing &^= 1 << r
	yield(t, s)
}

// note records what an inbox's readers were told of a position. What decides against an entry must outlive it: see keep in pkg/inbox.
func (m *machine) note(s *state, u, p uint8, what cell) (fault string) {
	if entry := s.at(u, p); entry.isMessage() && what == tombstone && m.keeps(DecidedOutliveEntries) {
		m.keep(s, entry.id(), s.writtenAt[u][p-1]+m.Lifetime)
	}
	before := s.told[u][p-1]
	if before == nothing {
		s.told[u][p-1] = what
		return ""
	}
	if before != what && (what != tombstone || !m.gone(s, u, p)) {
		return "two readers are told different things of one position"
	}
	return ""
}

// gone reports whether what stood at a position has expired or was removed.
func (m *machine) gone(s *state, u, p uint8) bool {
	if !s.at(u, p).isMessage() {
		return p <= s.removed[u]
	}
	return m.expired(s, u, p) || m.erased(s, s.at(u, p))
}

// takeEvents: a waiting reader gets the message right after its cursor from the event of an acknowledged send, without reading the store.
// See receive in the gateway's mailbox.
func (m *machine) takeEvents(s *state, r uint8, yield visit) {
	u := m.Readers[r].Inbox
	for w := range m.Writers {
		if p := s.writers[w].announced[u]; p != 0 && p == s.readers[r]+1 {
			m.tell(*s, r, p, m.message(s, uint8(w)), "reader %d of inbox %d takes the event of position %d", yield)
		}
	}
}

// beginLatest: a reader asks for new messages only. What it passes counts as told.
func (m *machine) beginLatest(s state, r uint8, yield visit) {
	u := m.Readers[r].Inbox
	latest := s.tail(u)
	if m.keeps(LatestBelowUndecided) {
		for p := uint8(1); p <= latest; p++ {
			if m.undecided(&s, u, p) {
				latest = p - 1
			}
		}
	}
	t := readerDid("reader %d of inbox %d begins at the latest position, %d", r, u, latest)
	for p := uint8(1); p <= latest; p++ {
		what := m.judge(&s, u, p)
		if what == nothing {
			what = tombstone
		}
		t.fault = cmp.Or(t.fault, m.note(&s, u, p, what))
	}
	s.readers[r] = latest
	yield(t, s)
}

// undecided reports whether a message may still appear at a position below the tail.
func (m *machine) undecided(s *state, u, p uint8) bool {
	if s.at(u, p) != nothing {
		return m.judge(s, u, p) == nothing
	}
	neighbor := s.above(u, p)
	return p > s.removed[u] && neighbor != 0 && !m.longPast(s, u, neighbor)
}
