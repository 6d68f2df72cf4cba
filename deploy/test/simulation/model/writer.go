package model

// stage is the progress of a call of Append. See attempt in pkg/inbox.
type stage uint8

const (
	// idle: the call has not begun.
	idle stage = iota
	// taking: the call takes positions for its entries.
	taking
	// placing: entries are being inserted.
	placing
	// committing: the message is being inserted.
	committing
	// committed: the message is written, but nobody was told yet.
	committed
	// aborting: the call has given up and inserts a tombstone in the message's place. If that is written, the call has failed.
	aborting
	// The ends: 200 or 201; 503, or the process has died; 409.
	acknowledged
	failed
	mismatched
)

func (g stage) ended() bool    { return g >= acknowledged }
func (g stage) underWay() bool { return g > idle && g < acknowledged }

// writer is one call of Append. When it gives up or dies, what it has sent to the store stays under way, and may be applied at any later
// time, or never.
type writer struct {
	stage   stage
	attempt uint8
	entries [maxInboxes]placement
	// flying has a bit for each insert under message ids that is under way.
	flying uint8
	// floor is what the call knows of the tail: see sequencer.go.
	floor uint8
	// announced is where the events of an acknowledged call say that its message stands. Readers may take them at any time.
	announced places
}

const (
	messageFlying = 1 << iota
	tombstoneFlying
)

// placement is the progress of the entry for one inbox.
type placement struct {
	how fate
	// position is where the entry is to be written, or stands; 0 for any.
	position uint8
}

type fate uint8

const (
	absent  fate = iota // no entry for this inbox
	wanting             // it has no position yet
	refused             // its position is taken
	flying              // it is under way to the store
	stands              // it is there
)

func (m *machine) id(s *state, w uint8) uint8 {
	return m.Writers[w].Key*attempts + s.writers[w].attempt
}

// message is the cell of a call's message, and of its entries.
func (m *machine) message(s *state, w uint8) cell {
	return messageCell(m.id(s, w), m.Writers[w].Content)
}

func (m *machine) sendsTo(w, u uint8) bool { return m.Writers[w].To>>u&1 == 1 }

// writerSteps yields a call's next steps, and those of its inserts that are under way.
func (m *machine) writerSteps(s *state, w uint8, yield visit) {
	me := &s.writers[w]
	for u := range me.entries {
		if me.entries[u].how == flying {
			m.entryArrives(*s, w, uint8(u), yield)
		}
	}
	if me.flying&messageFlying != 0 {
		m.messageArrives(*s, w, yield)
	}
	if me.flying&tombstoneFlying != 0 {
		m.tombstoneArrives(*s, w, yield)
	}
	switch me.stage {
	case idle:
		m.begin(*s, w, yield)
	case taking:
		m.takePosition(s, w, yield)
	case committed:
		m.acknowledge(*s, w, "writer %d acknowledges its message", yield)
	}
	if me.stage.underWay() {
		m.giveUp(*s, w, yield)
	}
}

func (m *machine) begin(s state, w uint8, yield visit) {
	key := m.Writers[w].Key
	if !m.begun(&s, key) {
		s.after[key] = m.acknowledgedKeys(&s)
	}
	m.startAttempt(&s, w, 0)
	yield(did("writer %d begins to send content %d under key %d", w, m.Writers[w].Content, key), s)
}

func (m *machine) begun(s *state, key uint8) bool {
	for w, call := range m.Writers {
		if call.Key == key && s.writers[w].stage != idle {
			return true
		}
	}
	return false
}

func (m *machine) acknowledgedKeys(s *state) (keys uint8) {
	if !m.Counter {
		return 0 // order is not promised
	}
	for w, call := range m.Writers {
		if s.writers[w].stage == acknowledged {
			keys |= 1 << call.Key
		}
	}
	return keys
}

// startAttempt starts an attempt from the beginning.
func (m *machine) startAttempt(s *state, w, attempt uint8) {
	me := writer{stage: taking, attempt: attempt, floor: unread}
	for u := range m.Inboxes {
		if m.sendsTo(w, u) {
			me.entries[u].how = wanting
		}
	}
	if !m.Counter { // the sequencer gives any position: see entryArrives
		me.stage, me.floor = placing, 0
		for u := range me.entries {
			if me.entries[u].how == wanting {
				me.entries[u].how = flying
			}
		}
	}
	s.writers[w] = me
}

// entryArrives: the store applies an insert of an entry.
func (m *machine) entryArrives(s state, w, u uint8, yield visit) {
	if p := s.writers[w].entries[u].position; p != 0 {
		m.entryArrivesAt(s, w, u, p, yield)
		return
	}
	// The sequencer gave any position, and another where that was taken. So the entry may get any free one.
	for p := uint8(1); p <= m.last(); p++ {
		if s.at(u, p) == nothing || !m.keeps(PositionsWriteOnce) {
			m.entryArrivesAt(s, w, u, p, yield)
		}
	}
}

func (m *machine) entryArrivesAt(s state, w, u, p uint8, yield visit) {
	me := &s.writers[w]
	e := &me.entries[u]
	s.early &^= 1 << w
	t := did("the entry of writer %d is written at %d of inbox %d", w, p, u)
	if m.insertEntry(&s, u, p, m.message(&s, w)) {
		*e = placement{how: stands, position: p}
	} else {
		*e = placement{how: refused}
		t = did("the entry of writer %d is refused at %d of inbox %d, which is taken", w, p, u)
	}
	switch {
	case me.stage != placing: // nobody waits for the answer
		*e = placement{}
		yield(t, s)
	case m.anyEntry(&s, w, flying):
		yield(t, s)
	default:
		m.placed(s, w, t, yield)
	}
}

func (m *machine) anyEntry(s *state, w uint8, how fate) bool {
	for _, e := range s.writers[w].entries {
		if e.how == how {
			return true
		}
	}
	return false
}

// placed: the call learns the results of all its entries. (Not learning them is like giving up before the last was applied.)
func (m *machine) placed(s state, w uint8, t step, yield visit) {
	me := &s.writers[w]
	if m.anyEntry(&s, w, refused) {
		me.stage, me.floor = taking, mustRead
		yield(t, s)
		return
	}
	me.stage, me.flying = committing, messageFlying
	if !m.keeps(CommitBeforeAcknowledge) {
		m.acknowledge(s, w, "writer %d acknowledges its message, which is on its way", yield)
		return
	}
	yield(t, s)
}

// places returns the positions of a call's entries, which its message names.
func (w *writer) places() (p places) {
	for u, e := range w.entries {
		p[u] = e.position
	}
	return p
}

// messageArrives: the store applies the commit.
func (m *machine) messageArrives(s state, w uint8, yield visit) {
	me := &s.writers[w]
	me.flying &^= messageFlying
	wrote := m.insertMessage(&s, m.id(&s, w), m.message(&s, w), me.places())
	t := did("the message of writer %d is written under id %d", w, m.id(&s, w))
	if !wrote {
		t = did("the message of writer %d is refused under id %d", w, m.id(&s, w))
	}
	switch {
	case me.stage != committing: // nobody waits for the answer
		yield(t, s)
	case wrote:
		me.stage = committed
		yield(t, s)
	case !m.keeps(RefusedCommitResolved):
		m.acknowledge(s, w, "writer %d is refused its message, and takes what is there for its own", yield)
	default:
		m.resolve(s, w, t, yield)
	}
}

// tombstoneArrives: the store applies the tombstone of a call that has given up.
func (m *machine) tombstoneArrives(s state, w uint8, yield visit) {
	me := &s.writers[w]
	me.flying &^= tombstoneFlying
	id := m.id(&s, w)
	wrote := m.insertMessage(&s, id, tombstone, places{})
	t := did("the tombstone of writer %d is written under id %d", w, id)
	if !wrote {
		t = did("the tombstone of writer %d is refused under id %d", w, id)
	}
	if me.stage == aborting {
		m.resolve(s, w, t, yield)
		return
	}
	yield(t, s)
}

// resolve: the call looks at what stands at its id.
func (m *machine) resolve(s state, w uint8, t step, yield visit) {
	me := &s.writers[w]
	switch standing := s.messages[m.id(&s, w)]; {
	case standing == tombstone && me.stage == aborting:
		m.fail(s, w, t, yield)
	case standing == tombstone:
		m.nextAttempt(s, w, t, yield)
	case standing != m.message(&s, w):
		me.stage = mismatched
		yield(t, s)
	default:
		m.end(&s, w)
		yield(t, s)
	}
}

// nextAttempt: the call passes the tombstone at its id, which must not be purged before the message that it commits under the next id.
func (m *machine) nextAttempt(s state, w uint8, t step, yield visit) {
	if m.keeps(PassedTombstonesRenewed) {
		m.keep(&s, m.id(&s, w), s.clock+m.Retention)
	}
	if next := s.writers[w].attempt + 1; next < attempts {
		m.startAttempt(&s, w, next)
		yield(t, s)
		return
	}
	m.fail(s, w, t, yield)
}

// giveUp: a call times out or dies. If it has written nothing, it just fails.
func (m *machine) giveUp(s state, w uint8, yield visit) {
	me := &s.writers[w]
	m.fail(s, w, did("writer %d dies, or gives up", w), yield)
	switch {
	case me.stage == taking && m.anyEntry(&s, w, refused), me.stage == placing, me.stage == committing:
		if !m.keeps(NextIDNeedsTombstone) && me.attempt+1 < attempts {
			m.startAttempt(&s, w, me.attempt+1)
			yield(did("writer %d gives up, and goes on with the next id", w), s)
			return
		}
		me.stage, me.floor = aborting, 0
		me.flying |= tombstoneFlying
		yield(did("writer %d gives up, and aborts", w), s)
	}
}

func (m *machine) fail(s state, w uint8, t step, yield visit) {
	s.writers[w].stage = failed
	yield(t, s)
}

func (m *machine) acknowledge(s state, w uint8, text string, yield visit) {
	m.end(&s, w)
	yield(did(text, w), s)
}

// end: the call is acknowledged and announces the places of the message that stands, which may be of another attempt. The event itself
// carries when its message expires.
func (m *machine) end(s *state, w uint8) {
	me := &s.writers[w]
	me.stage = acknowledged
	me.announced = me.places()
	if id := m.id(s, w); s.messages[id] == m.message(s, w) && m.keeps(StandingPlacesAnnounced) {
		me.announced = s.named[id]
	}
	if m.erased(s, m.message(s, w)) {
		me.announced = places{} // nothing is left to announce
	}
}
