package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"time"
)

// MessageID identifies a message: 12 bytes, 24 hex digits where it travels.
type MessageID [12]byte

// String returns the id as 24 lower-case hex digits.
func (id MessageID) String() string { return hex.EncodeToString(id[:]) }

// ErrBadMessageID means a text is not 24 hex digits.
var ErrBadMessageID = errors.New("not a message id")

// ParseMessageID reads 24 hex digits, in any case.
func ParseMessageID(s string) (MessageID, error) {
	var id MessageID
	if len(s) != 2*len(id) {
		return id, ErrBadMessageID
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return MessageID{}, ErrBadMessageID
	}
	return id, nil
}

// NewMessageID makes an id that nobody else makes: 4 bytes of time, so that ids made together are stored together,
// and 8 random bytes.
func NewMessageID(now time.Time) MessageID {
	var id MessageID
	binary.BigEndian.PutUint32(id[:4], uint32(now.Unix()))
	_, _ = rand.Read(id[4:]) // crypto/rand.Read never fails
	return id
}

// Digest is the first 16 bytes of a SHA-256 over what a send contains. It tells a repeat from another send under the same client
// message id.
type Digest [16]byte

// Place is a position of an inbox.
type Place struct {
	// User is the inbox's owner, canonical.
	User     string
	Position int64
}

// EntryKind says what a position of an inbox holds.
type EntryKind uint8

const (
	// Received is a message addressed to the inbox's owner.
	Received EntryKind = iota + 1
	// Sent is a message the owner sent without being among its recipients: in the history, but not delivered.
	Sent
	// Hole is a tombstone: nothing will ever be at this position.
	Hole
)

// Entry is one position of one inbox. Entries are written once; only ReadAt changes, once.
type Entry struct {
	// User is the inbox's owner, canonical.
	User     string
	Position int64
	Kind     EntryKind
	// Message is the id of the message; for a Hole it is an id that no message has.
	Message MessageID
	// Size is the length of the message's content in bytes, so that a reader knows it before it fetches; 0 if it is not
	// known, as of entries from before sizes were kept.
	Size int
	// WrappedKey is the message's key, sealed for the owner.
	WrappedKey string
	// KeyVersion is the version of the owner's key that WrappedKey was made for; 0 if the sender did not say.
	KeyVersion int
	// At is the writer's clock when the entry was written. Nothing is ordered by it.
	At time.Time
	// ReadAt is when the owner first marked it as read; zero until then.
	ReadAt time.Time
	// ExpiresAt is when the message ceases to be shown.
	ExpiresAt time.Time
	// PurgeAt is when the entry may be removed. It is the same distance from At for all entries of an inbox, so that
	// they go in order of position, from the old end.
	PurgeAt time.Time
}

// Place is where the entry stands.
func (e *Entry) Place() Place { return Place{User: e.User, Position: e.Position} }

// Message is what was sent, without the wrapped keys, which stand in the entries. Messages are written once. From ExpiresAt
// on the store may erase what they hold, and from PurgeAt on remove them: between the two an id is known and its content gone.
//
// A message names the places of its entries, and an entry counts only if its message names its place. What other attempts of the same
// send have left in the inboxes counts for nothing.
type Message struct {
	ID MessageID
	// Sender and Recipients are display names. Recipients are in the order of their canonical names.
	Sender           string
	SenderKeyVersion int
	Recipients       []string
	// Positions are those of the entries: of the recipients, in their order, and then of the sender, unless that is one of them.
	Positions       []int64
	Content         string
	IV              string
	ClientMessageID string
	Digest          Digest
	CreatedAt       time.Time
	ExpiresAt       time.Time
	// PurgeAt is until when the id and the digest are kept, so that a repeat of the same client message id is recognised. A moment
	// before ExpiresAt counts as ExpiresAt.
	PurgeAt time.Time
	// Erased means that the store has erased Content, IV, Recipients and Positions, because the message has expired.
	Erased bool
	// Tombstone marks an id under which no message will ever be committed.
	Tombstone bool
}

// KeptUntil is when the message may be removed.
func (m Message) KeptUntil() time.Time {
	if m.PurgeAt.Before(m.ExpiresAt) {
		return m.ExpiresAt
	}
	return m.PurgeAt
}

// PositionOf returns the position that the message names in an inbox; 0 if it names none. User is canonical.
func (m *Message) PositionOf(user string) int64 {
	i, found := slices.BinarySearchFunc(m.Recipients, user, func(name, user string) int { return strings.Compare(Canonical(name), user) })
	switch {
	case found && i < len(m.Positions):
		return m.Positions[i]
	case !found && len(m.Positions) == len(m.Recipients)+1 && Canonical(m.Sender) == user:
		return m.Positions[len(m.Recipients)]
	}
	return 0
}

// Names reports whether the message names the place of an entry that points to it.
func (m *Message) Names(e *Entry) bool { return m.PositionOf(e.User) == e.Position }

// Places are those that the message names.
func (m *Message) Places() []Place {
	places := make([]Place, len(m.Positions))
	for i, position := range m.Positions {
		name := m.Sender
		if i < len(m.Recipients) {
			name = m.Recipients[i]
		}
		places[i] = Place{User: Canonical(name), Position: position}
	}
	return places
}

// ReadReceipt says when a user first read a message.
type ReadReceipt struct {
	Message MessageID
	User    string
	ReadAt  time.Time
}

// Tail says where an inbox ends.
type Tail struct {
	// Position is no lower than any position the inbox ever held, those removed since included; the highest that holds an
	// entry, while the store can tell which one that is. 0 for an inbox that never held any.
	Position int64
	// Removed is a position up to which nothing stands and nothing can come any more: retention has removed what stood there.
	// 0 if that is not known.
	Removed int64
}

// Log is the port for the inbox log. Its promise is write-once: of any number of concurrent inserts at one (user, position) or
// one message id, exactly one succeeds, and the others learn of it. What a read returns has been made durable and cannot be
// undone by a failover.
type Log interface {
	// InsertEntries writes entries, each on its own, and reports for each whether it was written: false means that another entry
	// stands at its position. One that is refused does not keep the others out. No two of the entries are for the same (user, position).
	InsertEntries(ctx context.Context, entries []Entry) (written []bool, err error)
	// InsertMessages writes messages, each on its own, and reports for each whether it was written: false means that
	// the id is in use. When it returns, what it wrote is durable.
	InsertMessages(ctx context.Context, messages []Message) (written []bool, err error)
	// Keep keeps the id of a message or a tombstone that was read until a moment, if it would go sooner; ErrNotFound if it has gone,
	// also if something else stands there by now: another Tombstone or CreatedAt tell. The message's content goes no later for that.
	Keep(ctx context.Context, m Message, until time.Time) error
	// Messages finds messages by id, tombstones included; ids that are not there are missing from the answer.
	Messages(ctx context.Context, ids []MessageID) (map[MessageID]Message, error)
	// MessagesOf is Messages for entries that this store returned: what they tell of their messages makes these quicker to find.
	MessagesOf(ctx context.Context, entries []Entry) (map[MessageID]Message, error)
	// Decided reports which of the ids hold a message or a tombstone, and until when they are kept. It costs little, however large the
	// messages are.
	Decided(ctx context.Context, ids []MessageID) (map[MessageID]time.Time, error)
	// Entries returns what stands at the positions after < p <= upTo of an inbox, ascending.
	Entries(ctx context.Context, user string, after, upTo int64) ([]Entry, error)
	// EntriesAt returns what stands at places, in any order. Where nothing stands it returns nothing.
	EntriesAt(ctx context.Context, places []Place) ([]Entry, error)
	// FirstAfter returns the lowest position above after that holds an entry, 0 if none does.
	FirstAfter(ctx context.Context, user string, after int64) (int64, error)
	// Tails returns the tail of each user, in one or two round trips however many there are. Unlike those of all other methods its reads
	// are never stale: what was acknowledged before it began, it knows.
	Tails(ctx context.Context, users []string) (map[string]Tail, error)
	// MarkRead sets ReadAt of the entry at a place, unless it is set; ErrNotFound if nothing stands there.
	MarkRead(ctx context.Context, place Place, at time.Time) error
	// Receipts returns when the entries at places were first read. Those that have not been read are missing from the answer.
	Receipts(ctx context.Context, places []Place) (map[Place]time.Time, error)
}
