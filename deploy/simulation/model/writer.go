package model

// stage is where a call of Append stands. See attempt in pkg/inbox.
type stage uint8

const (
	// idle: the call has not begun.
	idle stage = iota
	// taking: entries want positions.
	taking
	// placing: entries are being inserted.
	placing
	// committing: the message is being inserted.
	committing
	// committed: the message is written, and nobody has been told.
	committed
	// settling: the call has given up, and a tombstone is being inserted in the message's place. If that wins, the call has failed.
	settling
	// replacing: the same, but if the tombstone wins the call goes on with the next id.
	replacing
	// The ends: 200 or 201; 503, or the process has died; 409.
	acknowledged
	failed
	mismatched
)

func (g stage) ended() bool    { return g >= acknowledged }
func (g stage) underWay() bool { return g > idle && g < acknowledged }

// writer is one call of Append. What it has sent to the store stays on its way when it gives up or dies, and may be applied at any
// time after, or never.
type writer struct {
	stage   stage
	attempt uint8
	entries [maxInboxes]placement
	// flying has a bit for each insert under message ids that is on its way.
	flying uint8
	// floor is what the call knows of the tail: see sequencer.go.
	floor uint8
}

const (
	messageFlying = 1 << iota
	tombstoneFlying
)

// placement is how far a call is with the entry of one inbox.
type placement struct {
	how fate
	// position is where the call believes the entry to be, in setups with a counter. taken is a position that it does not need.
	position, taken uint8
}

type fate uint8

const (
	absent    fate = iota // there is no entry for this inbox
	wanting               // it has no position
	refused               // its position belongs to another
	flying                // it is on its way to the store
	stands                // it is there
	unknown               // it was on its way when the call gave up, and has been applied or refused since
	announced             // an acknowledged call has told of it, and not as it stands in the store
	// The inbox held one already: the call's own, one of another content, or an old one.
	held
	heldForeign
	heldOld
)

func (m *machine) id(s *state, w uint8) uint8 {
	return m.Writers[w].Key*attempts + s.writers[w].attempt
}

// message is the cell of a call's message, and of its entries.
func (m *machine) message(s *state, w uint8) cell {
	return messageCell(m.id(s, w), m.Writers[w].Content)
}

func (m *machine) sendsTo(w, u uint8) bool { return m.Writers[w].To>>u&1 == 1 }

// writerSteps are what a call may do next, and what may become of its inserts.
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

// startAttempt begins anew with an id.
func (m *machine) startAttempt(s *state, w, attempt uint8) {
	me := writer{stage: taking, attempt: attempt, floor: unread}
	for u := range m.Inboxes {
		if m.sendsTo(w, u) {
			me.entries[u].how = wanting
		}
	}
	if !m.Counter { // what the sequencer gives is any position: see entryArrives
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
	// The sequencer gave any position, and another one where that was taken. So the entry comes to any that is free.
	if s.find(u, m.id(&s, w)) != 0 && m.keeps(OneEntryAMessage) {
		m.entryArrivesAt(s, w, u, 0, yield)
		return
	}
	for p := uint8(1); p <= positions; p++ {
		if s.at(u, p) == nothing || !m.keeps(PositionsWriteOnce) {
			m.entryArrivesAt(s, w, u, p, yield)
		}
	}
}

func (m *machine) entryArrivesAt(s state, w, u, p uint8, yield visit) {
	me := &s.writers[w]
	e := &me.entries[u]
	at, taken := m.insertEntry(&s, u, p, m.message(&s, w))
	s.early &^= 1 << w
	t := did("the entry of writer %d is written at %d of inbox %d", w, p, u)
	switch {
	case at != 0:
		t = did("the entry of writer %d is refused by inbox %d, which holds it at %d", w, u, at)
		*e = placement{how: m.howHeld(&s, w, u, at), position: at, taken: p}
	case taken:
		t = did("the entry of writer %d is refused at %d of inbox %d, which is taken", w, p, u)
		e.how = refused
	default:
		*e = placement{how: stands, position: p}
	}
	switch {
	case me.stage != placing: // nobody waits for the answer
		*e = placement{how: unknown, position: p}
		m.forgetUnknown(&s, w)
		yield(t, s)
	case m.anyEntry(&s, w, flying):
		m.forgetPositions(&s, w)
		yield(t, s)
	default:
		m.placed(s, w, 0, t, yield)
	}
}

// forgetPositions keeps states that differ in nothing that matters one: without a counter the store tells where an entry stands.
func (m *machine) forgetPositions(s *state, w uint8) {
	if m.Counter {
		return
	}
	for u := range s.writers[w].entries {
		s.writers[w].entries[u].position = 0
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

// howHeld is what a call makes of an entry that stands in the place of its own.
func (m *machine) howHeld(s *state, w, u, at uint8) fate {
	switch {
	case s.at(u, at) != m.message(s, w):
		return heldForeign
	case m.expired(s, u, at), m.longPast(s, u, at) && m.keeps(OldEntriesReplaced):
		return heldOld
	}
	return held
}

// placed: the call learns what became of all its entries. (If it does not, that is as if it had given up before the last was
// applied.) It closes the positions that it does not need, unless something goes wrong.
func (m *machine) placed(s state, w, u uint8, t step, yield visit) {
	if u == m.Inboxes {
		m.prepared(s, w, t, yield)
		return
	}
	m.placed(s, w, u+1, t, yield)
	e := s.writers[w].entries[u]
	for p := uint8(1); p <= positions; p++ {
		if e.how >= held && s.at(u, p) == nothing && (p == e.taken || !m.Counter) {
			closed := s
			m.insertEntry(&closed, u, p, tombstone)
			m.placed(closed, w, u+1, t, yield)
		}
	}
}

// prepared: what the call does when it knows about its entries.
func (m *machine) prepared(s state, w uint8, t step, yield visit) {
	me := &s.writers[w]
	foreign, old := m.anyEntry(&s, w, heldForeign), m.anyEntry(&s, w, heldOld)
	for u := range me.entries {
		if e := &me.entries[u]; e.how >= held {
			if !m.keeps(ExistingEntryKept) {
				e.position = e.taken
			}
			e.how, e.taken = stands, 0
		}
	}
	m.forgetPositions(&s, w)
	switch {
	case foreign && m.keeps(ForeignEntriesYield):
		m.yieldToForeign(s, w, t, yield)
	case m.anyEntry(&s, w, refused):
		me.stage, me.floor = taking, mustRead
		yield(t, s)
	case old:
		clear(me.entries[:]) // an event of them would be out of date
		me.stage, me.flying = replacing, tombstoneFlying
		yield(t, s)
	default:
		me.stage, me.flying = committing, messageFlying
		if !m.keeps(CommitBeforeAcknowledge) {
			m.acknowledge(s, w, "writer %d acknowledges its message, which is on its way", yield)
			return
		}
		yield(t, s)
	}
}

// yieldToForeign: the entries of another content stand under the call's id.
func (m *machine) yieldToForeign(s state, w uint8, t step, yield visit) {
	clear(s.writers[w].entries[:]) // they are not announced, whatever comes of it
	if s.messages[m.id(&s, w)] != nothing {
		m.resolve(s, w, t, yield)
		return
	}
	m.fail(s, w, t, yield)
	s.writers[w].stage, s.writers[w].flying = replacing, tombstoneFlying // it has been there for too long
	yield(t, s)
}

// messageArrives: the store applies the commit.
func (m *machine) messageArrives(s state, w uint8, yield visit) {
	me := &s.writers[w]
	me.flying &^= messageFlying
	wrote := m.insertMessage(&s, m.id(&s, w), m.message(&s, w))
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

// tombstoneArrives: the store applies the tombstone of a call that settles.
func (m *machine) tombstoneArrives(s state, w uint8, yield visit) {
	me := &s.writers[w]
	me.flying &^= tombstoneFlying
	id := m.id(&s, w)
	wrote := m.insertMessage(&s, id, tombstone)
	t := did("the tombstone of writer %d is written under id %d", w, id)
	if !wrote {
		t = did("the tombstone of writer %d is refused under id %d", w, id)
	}
	if me.stage == settling || me.stage == replacing {
		m.resolve(s, w, t, yield)
		return
	}
	yield(t, s)
}

// resolve: the call looks at what stands at its id.
func (m *machine) resolve(s state, w uint8, t step, yield visit) {
	me := &s.writers[w]
	switch standing := s.messages[m.id(&s, w)]; {
	case standing == tombstone && me.stage == settling:
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

// forgetUnknown drops what a call that has given up does not know: where its entries stand, or whether they do.
func (m *machine) forgetUnknown(s *state, w uint8) {
	for u := range s.writers[w].entries {
		if e := &s.writers[w].entries[u]; e.how != stands && e.how != flying && m.keeps(UnknownPositionsNotAnnounced) {
			*e = placement{}
		}
	}
}

func (m *machine) nextAttempt(s state, w uint8, t step, yield visit) {
	m.renew(&s, m.id(&s, w), s.clock)
	if next := s.writers[w].attempt + 1; next < attempts {
		m.startAttempt(&s, w, next)
		yield(t, s)
		return
	}
	m.fail(s, w, t, yield)
}

// giveUp: a call runs into its time-out, or dies. One that has touched nothing just fails.
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
		me.stage, me.floor = settling, 0
		me.flying |= tombstoneFlying
		m.forgetUnknown(&s, w)
		yield(did("writer %d gives up, and settles", w), s)
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

// end: the call is acknowledged, and tells where its entries are. An event says itself when its message expires.
func (m *machine) end(s *state, w uint8) {
	me := &s.writers[w]
	me.stage = acknowledged
	c := m.message(s, w)
	for u := range me.entries {
		e := &me.entries[u]
		known := e.how != absent && (e.how != flying || !m.keeps(UnknownPositionsNotAnnounced))
		at := e.position
		if known && at == 0 {
			at = s.find(uint8(u), c.id())
		}
		*e = placement{}
		if known && at != 0 && !m.expired(s, uint8(u), at) {
			*e = placement{how: announced, position: at}
		}
	}
}
