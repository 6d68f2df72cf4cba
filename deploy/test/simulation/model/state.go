package model

// The bounds of the model. A Setup uses as much of them as it needs.
const (
	maxInboxes = 2
	maxWriters = 3
	maxReaders = 2
	maxKeys    = 2
	// positions is the most positions an inbox has, usualPositions their number in most setups. A send that finds no free position can only
	// give up.
	positions      = 4
	usualPositions = 3
	// attempts is the number of message ids of one client message id.
	attempts = 2
	maxIDs   = maxKeys * attempts
)

// cell is what stands at a position or at a message id, or what readers were told of a position.
type cell uint8

const (
	// nothing: the position or id is free; readers were told nothing of the position.
	nothing cell = iota
	// tombstone: nothing will ever stand here. Readers are told that the position is skipped.
	tombstone
	firstMessage
)

// messageCell is a message or its entry: the id, and the content. (Really the digest in a message and the key in an entry tell it.)
func messageCell(id, content uint8) cell { return firstMessage + cell(2*id+content) }

func (c cell) isMessage() bool { return c >= firstMessage }
func (c cell) id() uint8       { return uint8(c-firstMessage) / 2 }
func (c cell) key() uint8      { return c.id() / attempts }
func (c cell) content() uint8  { return uint8(c-firstMessage) % 2 }

// places are a position in each inbox, 0 in inboxes without one.
type places [maxInboxes]uint8

// state is the whole state. It is comparable and has no padding, so that it can be hashed directly.
type state struct {
	// The store: entries, when each was written, and whether a power failure would take it (a bit for each); messages, the positions that
	// each names, when each was written, and until when what stands under an id is kept; and the highest position that retention has
	// removed from each inbox.
	entries   [maxInboxes][positions]cell
	writtenAt [maxInboxes][positions]uint8
	unsynced  uint8
	messages  [maxIDs]cell
	named     [maxIDs]places
	createdAt [maxIDs]uint8
	keptUntil [maxIDs]uint8
	removed   [maxInboxes]uint8

	writers [maxWriters]writer
	// readers are cursors; notBegun for a reader that has yet to ask for the latest position.
	readers [maxReaders]uint8
	// passing has a bit for each reader that is about to pass the entry after its cursor: see KeptIsWhatWasRead.
	passing uint8

	// The sequencer, in the setups that have a counter: of inbox 0, the only one there. trusting has a bit for each node.
	counter  uint8
	trusting uint8
	// early has a bit for each writer whose entry got its position from an earlier sequencer.
	early uint8

	clock uint8
	// accidents has a bit for each accident that has happened; each happens once.
	accidents uint8

	// Known to no process, only used by the invariants: what the readers of an inbox together were told; which keys had been acknowledged
	// when a key was first sent; and which keys were acknowledged longer ago than the retention.
	told      [maxInboxes][positions]cell
	after     [maxKeys]uint8
	forgotten uint8
}

const notBegun = 7

// at returns what stands at a position; positions count from 1.
func (s *state) at(u, p uint8) cell { return s.entries[u][p-1] }

// above returns the lowest position above p that holds an entry; 0 if none does.
func (s *state) above(u, p uint8) uint8 {
	for p++; p <= positions; p++ {
		if s.at(u, p) != nothing {
			return p
		}
	}
	return 0
}

// tail is at least the highest position that the inbox ever held.
func (s *state) tail(u uint8) uint8 {
	for p := uint8(positions); p > s.removed[u]; p-- {
		if s.at(u, p) != nothing {
			return p
		}
	}
	return s.removed[u]
}
