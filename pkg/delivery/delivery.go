// Package delivery is what travels from the node that commits a message to the nodes that hold its readers' polls: a
// position, and the whole message object as its reader sees it, ready to be sent on.
package delivery

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
)

// MaxInline is the largest message object an event carries, in bytes. A larger one is read from the store.
const MaxInline = 256 << 10

// Kind says what an event tells of its position.
type Kind byte

const (
	// Inline means that the event carries the message object.
	Inline Kind = 'm'
	// Reference means that there is a message at the position, to be read from the store.
	Reference Kind = 'r'
	// Empty means that there is nothing for the inbox's owner at the position: its own send.
	Empty Kind = 'e'
)

// Event tells the holders of a user's polls what stands at a position of the user's inbox. It is sent after the commit.
type Event struct {
	Position int64
	Kind     Kind
	// AcceptedAt is when the server accepted the send, by the sending node's clock, in milliseconds.
	AcceptedAt time.Time
	// ExpiresAt is when the message ceases to be shown, also by who has it in memory.
	ExpiresAt time.Time
	// Object is the message's JSON, for Inline.
	Object []byte
	// Trace is that of the send, if it is sampled. It travels beside the payload: see package bus.
	Trace *trace.SpanContext
}

// ErrMalformed means that a payload is not an event of this version.
var ErrMalformed = errors.New("malformed event")

// For makes the event of one entry of a committed message.
func For(item inbox.Item) (Event, error) {
	e := Event{Position: item.Entry.Position, AcceptedAt: item.Message.CreatedAt, ExpiresAt: item.Entry.ExpiresAt}
	switch {
	case item.Entry.Kind != store.Received:
		e.Kind = Empty
		return e, nil
	case len(item.Message.Content) > MaxInline:
		e.Kind = Reference
		return e, nil
	}
	e, err := Stored(item, nil)
	if len(e.Object) > MaxInline {
		e.Kind, e.Object = Reference, nil
	}
	return e, err
}

// Stored makes the event of a message that its reader has received, whatever its size, for a node that read it from
// the store. Receipts are shown to the sender only.
func Stored(item inbox.Item, receipts []store.ReadReceipt) (Event, error) {
	object, err := json.Marshal(Object(item, receipts))
	if err != nil {
		return Event{}, fmt.Errorf("encode message object: %w", err)
	}
	return Event{
		Position: item.Entry.Position, Kind: Inline, AcceptedAt: item.Message.CreatedAt, ExpiresAt: item.Entry.ExpiresAt, Object: object,
	}, nil
}

// Encode makes a payload: kind, position, acceptance and expiry in one line of text, then the object.
func (e Event) Encode() []byte {
	b := make([]byte, 0, len(e.Object)+64)
	b = append(b, byte(e.Kind))
	for _, n := range []int64{e.Position, e.AcceptedAt.UnixMilli(), e.ExpiresAt.UnixMilli()} {
		b = append(b, ' ')
		b = strconv.AppendInt(b, n, 10)
	}
	b = append(b, '\n')
	return append(b, e.Object...)
}

// Decode reads a payload. The event's Object shares the payload's memory.
func Decode(payload []byte) (Event, error) {
	line, object, found := bytes.Cut(payload, []byte{'\n'})
	fields := bytes.Split(line, []byte{' '})
	if !found || len(fields) != 4 || len(fields[0]) != 1 {
		return Event{}, ErrMalformed
	}
	position, err1 := strconv.ParseInt(string(fields[1]), 10, 64)
	accepted, err2 := strconv.ParseInt(string(fields[2]), 10, 64)
	expires, err3 := strconv.ParseInt(string(fields[3]), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || position < 1 {
		return Event{}, ErrMalformed
	}
	e := Event{Kind: Kind(fields[0][0]), Position: position, AcceptedAt: time.UnixMilli(accepted), ExpiresAt: time.UnixMilli(expires)}
	switch {
	case e.Kind == Inline && len(object) > 0:
		e.Object = object
	case (e.Kind == Reference || e.Kind == Empty) && len(object) == 0:
	default:
		return Event{}, ErrMalformed
	}
	return e, nil
}

// Object makes the message object that the owner of the entry sees. Receipts are shown to the sender only.
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

func displayName(canonical string, names []string) string {
	for _, name := range names {
		if store.Canonical(name) == canonical {
			return name
		}
	}
	return canonical
}
