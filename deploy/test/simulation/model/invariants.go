package model

// check returns the promise that a state breaks, or "". Clients can rely on each.
func (m *machine) check(s *state) string {
	for _, promise := range []func(*state) string{m.toldStays, m.ownKeys, m.deliveredOnce, m.acknowledgedStands, m.inOrder} {
		if fault := promise(s); fault != "" {
			return fault
		}
	}
	return ""
}

// toldStays: what was told of a position stays true for everybody until it expires.
func (m *machine) toldStays(s *state) string {
	for u := range m.Inboxes {
		for p := uint8(1); p <= positions; p++ {
			was, is := s.told[u][p-1], m.judge(s, u, p)
			switch {
			case was == nothing || is == nothing || was == is:
			case was == tombstone:
				return "a message stands at a position that readers have passed"
			case is.isMessage():
				return "another message stands at a position than readers were told"
			case !m.gone(s, u, p):
				return "a message that readers were given has failed for others"
			}
		}
	}
	return ""
}

// ownKeys: a message is shown with the key that was sent with it.
func (m *machine) ownKeys(s *state) string {
	for u := range m.Inboxes {
		for p := uint8(1); p <= positions; p++ {
			if shown := m.judge(s, u, p); shown.isMessage() && s.at(u, p) != shown {
				return "a message is shown with the key of another"
			}
		}
	}
	return ""
}

// deliveredOnce: a message is delivered only to its recipients, once, and to all of them. Nobody gets a message that failed for another
// recipient, or whose sender was told that the id was used for other content.
func (m *machine) deliveredOnce(s *state) string {
	for u := range m.Inboxes {
		keys := s.forgotten // a send that comes later is a new message
		for _, c := range s.told[u] {
			if !c.isMessage() {
				continue
			}
			if m.recipients(c)>>u&1 == 0 {
				return "a message is given to somebody who is no recipient of it"
			}
			if keys>>c.key()&1 == 1 && s.forgotten>>c.key()&1 == 0 {
				return "a message is delivered twice"
			}
			keys |= 1 << c.key()
			if s.forgotten>>c.key()&1 == 0 && m.answeredMismatch(s, c) {
				return "a content is delivered of which its sender was told that another stands"
			}
			if !m.standsEverywhere(s, c) {
				return "a message is given to one recipient and is missing for another"
			}
		}
	}
	return ""
}

func (m *machine) answeredMismatch(s *state, c cell) bool {
	for w, call := range m.Writers {
		if s.writers[w].stage == mismatched && call.Key == c.key() && call.Content == c.content() {
			return true
		}
	}
	return false
}

// standsEverywhere reports whether each recipient's inbox shows a message exactly once, until it expires.
func (m *machine) standsEverywhere(s *state, c cell) bool {
	if m.Ticks > 0 {
		removed := s.messages[c.id()] != c && s.clock >= m.Lifetime
		if removed || m.erased(s, c) {
			return true
		}
	}
	if s.messages[c.id()] != c {
		return false
	}
	for u, to := uint8(0), m.recipients(c); u < m.Inboxes; u++ {
		if to>>u&1 == 1 && m.count(s, u, c) != 1 {
			return false
		}
	}
	return true
}

func (m *machine) count(s *state, u uint8, c cell) (n int) {
	for p := uint8(1); p <= positions; p++ {
		if m.judge(s, u, p) == c {
			n++
		}
	}
	return n
}

// acknowledgedStands: an acknowledged message is in each of its inboxes, once, and all calls with its key are answered with its id.
func (m *machine) acknowledgedStands(s *state) string {
	var answered [maxKeys]cell
	for w, call := range m.Writers {
		if s.writers[w].stage != acknowledged || s.forgotten>>call.Key&1 == 1 {
			continue
		}
		c := m.message(s, uint8(w))
		if !m.standsEverywhere(s, c) {
			return "an acknowledged message is not in every inbox, once"
		}
		if before := answered[call.Key]; before != nothing && before != c {
			return "one key is acknowledged as two messages"
		}
		answered[call.Key] = c
	}
	return ""
}

// inOrder: a message first sent after another was acknowledged stands behind it.
func (m *machine) inOrder(s *state) string {
	if !m.Counter {
		return ""
	}
	for u := range m.Inboxes {
		var before uint8 // the keys of the messages below
		for p := uint8(positions); p > 0; p-- {
			c := s.at(u, p)
			if !c.isMessage() || s.messages[c.id()] != c || s.named[c.id()][u] != p {
				continue
			}
			if s.after[c.key()]&before != 0 {
				return "a message stands before one that had been acknowledged when it was sent"
			}
			before |= 1 << c.key()
		}
	}
	return ""
}
