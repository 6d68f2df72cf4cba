// Package delivery defines the events that the node that commits a message sends to the nodes that hold its readers' polls: a position, and
// the whole message object as its reader sees it, ready to be forwarded.
package delivery

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
)

// MaxInline is the largest message object that an event carries, in bytes. Readers get a larger one from the store.
const MaxInline = 256 << 10

// Kind says what an event reports about its position.
type Kind byte

const (
	// Inline means that the event carries the message object.
	Inline Kind = 'm'
	// Reference means that there is a message at the position, to be read from the store.
	Reference Kind = 'r'
	// Empty means that the position holds nothing for the inbox's owner: it is the owner's own send.
	Empty Kind = 'e'
	// Look means that there may be a message at a position that the sender of the event does not know: read the store. Its Position is 0.
	Look Kind = 'l'
)

func (k Kind) known() bool { return k == Inline || k == Reference || k == Empty || k == Look }

// Event tells the nodes that hold a user's polls about one position of the user's inbox. It is sent after the commit.
type Event struct {
	Position int64
	Kind     Kind
	// AcceptedAt is when the server accepted the send, by the sending node's clock, in milliseconds.
	AcceptedAt time.Time
	// ExpiresAt is when the message is no longer shown, even from memory.
	ExpiresAt time.Time
	// Object is the message's JSON, for Inline.
	Object JSON
	// Trace is the send's trace, if sampled. It travels outside the payload: see package bus.
	Trace *trace.SpanContext
}

// JSON is a message object in two consecutive parts. All readers may share the memory of the first. Neither may be modified.
type JSON struct{ Common, Own []byte }

// Len returns the object's length in bytes.
func (j JSON) Len() int { return len(j.Common) + len(j.Own) }

// AppendTo appends the object to b.
func (j JSON) AppendTo(b []byte) []byte { return append(append(b, j.Common...), j.Own...) }

// ErrMalformed means that a payload is not an event of this version.
var ErrMalformed = errors.New("malformed event")

// For makes the event of one entry of a committed message. Use a MessageEncoder for messages with many entries.
func For(item inbox.Item) Event { return NewMessageEncoder(item.Message).For(item.Entry) }

// Stored makes the event of a received message, whatever its size, for a node that read it from the store. Only the sender sees receipts.
func Stored(item inbox.Item, receipts []store.ReadReceipt) Event {
	return NewMessageEncoder(item.Message).stored(item.Entry, receipts)
}

// AppendTo appends the event to a payload: kind, position, acceptance, expiry and the object's length in one line of text, then the object.
// A payload holds one or more events of one user, one after the other.
func (e Event) AppendTo(b []byte) []byte { return e.Object.AppendTo(appendHead(b, e, e.Object.Len())) }

// appendHead appends the line of an event whose object has the given number of bytes.
func appendHead(b []byte, e Event, object int) []byte {
	b = append(b, byte(e.Kind))
	for _, n := range [...]int64{e.Position, e.AcceptedAt.UnixMilli(), e.ExpiresAt.UnixMilli(), int64(object)} {
		b = append(b, ' ')
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, '\n')
}

// Encode returns a payload of one event.
func (e Event) Encode() []byte { return e.AppendTo(make([]byte, 0, e.Object.Len()+headBytes)) }

// headBytes is the maximum length of an event's line.
const headBytes = 96

// Decode reads a payload. The events' Objects share the payload's memory. On error it returns no events.
func Decode(payload []byte) ([]Event, error) {
	var events []Event
	for {
		e, rest, err := decodeOne(payload)
		if err != nil {
			return nil, err
		}
		events = append(events, e)
		if len(rest) == 0 {
			return events, nil
		}
		payload = rest
	}
}

func decodeOne(payload []byte) (e Event, rest []byte, err error) {
	line, rest, found := bytes.Cut(payload, []byte{'\n'})
	if !found || len(line) < 2 || line[1] != ' ' {
		return Event{}, nil, ErrMalformed
	}
	e.Kind = Kind(line[0])
	var numbers [4]int64
	fields := line[2:]
	for i := range numbers {
		field, more, again := bytes.Cut(fields, []byte{' '})
		if again == (i == len(numbers)-1) {
			return Event{}, nil, ErrMalformed
		}
		if numbers[i], err = strconv.ParseInt(string(field), 10, 64); err != nil {
			return Event{}, nil, ErrMalformed
		}
		fields = more
	}
	position, length := numbers[0], numbers[3]
	if !e.Kind.known() || position < 0 || (position == 0) != (e.Kind == Look) {
		return Event{}, nil, ErrMalformed
	}
	if length < 0 || length > int64(len(rest)) || (e.Kind == Inline) != (length > 0) {
		return Event{}, nil, ErrMalformed
	}
	e.Position, e.AcceptedAt, e.ExpiresAt = position, time.UnixMilli(numbers[1]), time.UnixMilli(numbers[2])
	if length > 0 {
		e.Object.Own = rest[:length:length]
	}
	return e, rest[length:], nil
}

// Object makes the message object that the owner of the entry sees. Only the sender sees receipts.
func Object(item inbox.Item, receipts []store.ReadReceipt) api.Message {
	m, e := item.Message, item.Entry
	object := api.Message{
		ObjectID: m.ID.String(), MessageID: m.ID.String(), Seq: e.Position,
		Sender: m.Sender, SenderKeyVersion: m.SenderKeyVersion,
		EncryptedContent: m.Content, IV: m.IV,
		RecipientKeys: map[string]string{}, Recipients: m.Recipients,
		Timestamp: api.At(m.CreatedAt), IsUnread: item.Unread(), ClientMessageID: m.ClientMessageID,
	}
	if e.Kind == store.Received {
		reader := displayName(e.User, m.Recipients)
		object.RecipientKeys[reader] = e.WrappedKey
		if e.KeyVersion > 0 {
			object.RecipientKeyVersions = map[string]int{reader: e.KeyVersion}
		}
	}
	if store.Canonical(m.Sender) == e.User {
		readBy := make([]api.Receipt, len(receipts))
		for i, r := range receipts {
			readBy[i] = api.Receipt{Username: r.User, ReadAt: api.At(r.ReadAt)}
		}
		object.ReadBy = &readBy
	}
	return object
}

// displayName finds the spelling of a name in a message's names, which are sorted by canonical name.
func displayName(canonical string, names []string) string {
	return (&speller{names: names}).spell(canonical)
}

// speller is displayName for many names in turn, mostly in the order of the names.
type speller struct {
	names []string
	next  int
}

func (s *speller) spell(canonical string) string {
	if s.next >= len(s.names) || store.Canonical(s.names[s.next]) != canonical {
		at, there := slices.BinarySearchFunc(s.names, canonical, func(name, target string) int {
			return strings.Compare(store.Canonical(name), target)
		})
		if !there {
			return unordered(canonical, s.names)
		}
		s.next = at
	}
	s.next++
	return s.names[s.next-1]
}

// unordered is displayName for messages from before names were sorted.
func unordered(canonical string, names []string) string {
	for _, name := range names {
		if len(name) == len(canonical) && store.Canonical(name) == canonical {
			return name
		}
	}
	return canonical
}
