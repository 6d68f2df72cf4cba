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

// MessageID identifies a message: 12 bytes, encoded as 24 hex digits.
type MessageID [12]byte

// String returns the id as 24 lower-case hex digits.
func (id MessageID) String() string { return hex.EncodeToString(id[:]) }

// ErrBadMessageID means that a text is not 24 hex digits.
var ErrBadMessageID = errors.New("not a message id")

// ParseMessageID parses 24 hex digits, in either case.
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

// NewMessageID makes a unique id: 4 bytes of time, so that ids made together are stored together, and 8 random bytes.
func NewMessageID(now time.Time) MessageID {
	var id MessageID
	binary.BigEndian.PutUint32(id[:4], uint32(now.Unix()))
	_, _ = rand.Read(id[4:]) // crypto/rand.Read never fails
	return id
}

// Digest is the first 16 bytes of a SHA-256 over the content of a send. It tells a repeat from another send under the same client message
// id.
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
	// Hole means that the position is empty for good.
	Hole
)

// Entry is one position of one inbox. Entries are written once; only ReadAt changes, once.
type Entry struct {
	// User is the inbox's owner, canonical.
	User     string
	Position int64
	Kind     EntryKind
	// Message is the message's id; for a Hole, an id that no message has.
	Message MessageID
	// Size is the length of the message's content in bytes, so that a reader knows it before fetching. 0 if unknown, as in entries from
	// before sizes were kept.
	Size int
	// WrappedKey is the message's key, sealed for the owner.
	WrappedKey string
	// KeyVersion is the version of the owner's key that WrappedKey was made for; 0 if the sender did not give it.
	KeyVersion int
	// At is the writer's clock when the entry was written. It determines no order.
	At time.Time
	// ReadAt is when the owner first marked the message as read; zero until then.
	ReadAt time.Time
	// ExpiresAt is when the message is no longer shown.
	ExpiresAt time.Time
	// PurgeAt is when the entry may be removed. The distance from At is the same for all entries of an inbox, so they are removed in order
	// of position, oldest first.
	PurgeAt time.Time
}

// Place returns the entry's place.
func (e *Entry) Place() Place { return Place{User: e.User, Position: e.Position} }

// Message is what was sent, without the wrapped keys, which are in the entries. Messages are written once. From ExpiresAt the store may
// erase the content, and from PurgeAt remove the message: in between the id is known and the content is gone.
//
// A message names the places of its entries, and an entry counts only if its message names its place. Entries of other attempts of the same
// send do not count.
type Message struct {
	ID MessageID
	// Sender and Recipients are display names. Recipients are in the order of their canonical names.
	Sender           string
	SenderKeyVersion int
	Recipients       []string
	// Positions are the positions of the entries: those of the recipients in order, then the sender's if it is not a recipient.
	Positions       []int64
	Content         string
	IV              string
	ClientMessageID string
	Digest          Digest
	CreatedAt       time.Time
	ExpiresAt       time.Time
	// PurgeAt is until when id and digest are kept, so that a repeat of the client message id is recognised. A time before ExpiresAt counts
	// as ExpiresAt.
	PurgeAt time.Time
	// Erased means that the store has erased Content, IV, Recipients and Positions because the message has expired.
	Erased bool
	// Tombstone marks an id under which no message will ever be committed. A repeat of the aborted send takes the next id.
	Tombstone bool
}

// KeptUntil returns when the message may be removed.
func (m Message) KeptUntil() time.Time {
	if m.PurgeAt.Before(m.ExpiresAt) {
		return m.ExpiresAt
	}
	return m.PurgeAt
}

// PositionOf returns the position that the message names in user's inbox, or 0. User is canonical.
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

// Names reports whether the message names the entry's place.
func (m *Message) Names(e *Entry) bool { return m.PositionOf(e.User) == e.Position }

// Places returns the places that the message names.
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

// Tail is the end of an inbox.
type Tail struct {
	// Position is at least every position the inbox ever held, removed ones included. While the store can tell, it is exactly the highest
	// that holds an entry. 0 for an inbox that never held any.
	Position int64
	// Removed is a position up to which retention has removed everything and nothing can be written any more; 0 if unknown.
	Removed int64
}

// Log is the port for the inbox log. It is write-once: of any number of concurrent inserts at one (user, position) or of one message id,
// exactly one succeeds, and the others learn that they did not. What a read returns is durable and survives a failover.
type Log interface {
	// InsertEntries writes entries independently of each other and reports for each whether it was written; false means that its position
	// holds another entry. No two of the entries may be for the same (user, position).
	InsertEntries(ctx context.Context, entries []Entry) (written []bool, err error)
	// InsertMessages writes messages independently of each other and reports for each whether it was written; false means that the id is in
	// use. When it returns, what it wrote is durable.
	InsertMessages(ctx context.Context, messages []Message) (written []bool, err error)
	// Keep extends how long the id of a message or tombstone m, as read before, is kept, at least to until. It returns ErrNotFound if m is
	// gone, even if another message has the id now, recognised by Tombstone or CreatedAt. The content is erased no later.
	Keep(ctx context.Context, m Message, until time.Time) error
	// Messages returns messages by id, tombstones included; unknown ids are missing from the result.
	Messages(ctx context.Context, ids []MessageID) (map[MessageID]Message, error)
	// MessagesOf is Messages for entries that this store returned; information in them makes the lookup faster.
	MessagesOf(ctx context.Context, entries []Entry) (map[MessageID]Message, error)
	// Decided returns the ids that hold a message or a tombstone, and until when these are kept. It is cheap however large the messages
	// are.
	Decided(ctx context.Context, ids []MessageID) (map[MessageID]time.Time, error)
	// Entries returns the entries at the positions after < p <= upTo of an inbox, ascending.
	Entries(ctx context.Context, user string, after, upTo int64) ([]Entry, error)
	// EntriesAt returns the entries at places, in any order. Empty places are left out.
	EntriesAt(ctx context.Context, places []Place) ([]Entry, error)
	// FirstAfter returns the lowest position above after that holds an entry, or 0.
	FirstAfter(ctx context.Context, user string, after int64) (int64, error)
	// Tails returns the tail of each user, in one or two round trips for any number of users. Unlike all other reads it is never stale: it
	// includes everything acknowledged before it began.
	Tails(ctx context.Context, users []string) (map[string]Tail, error)
	// MarkRead sets ReadAt of the entry at a place, unless it is set. It returns ErrNotFound if there is no entry.
	MarkRead(ctx context.Context, place Place, at time.Time) error
	// Receipts returns when the entries at places were first read. Unread ones are missing from the result.
	Receipts(ctx context.Context, places []Place) (map[Place]time.Time, error)
}
