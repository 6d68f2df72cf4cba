package delivery

import (
	"strconv"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
)

// MessageEncoder is a message as JSON without the parts that differ between readers, which For and AppendFor add. So a message to a thousand
// recipients is encoded once.
type MessageEncoder struct {
	message store.Message
	// sender is the sender's canonical name.
	sender string
	// common is the beginning of the object, up to the first reader-specific JSON member. Names and formats are those of api.Message; a
	// test compares the two.
	common []byte
}

// NewMessageEncoder encodes the common part.
func NewMessageEncoder(m store.Message) *MessageEncoder {
	size := 256 + len(m.Content) + len(m.IV) + len(m.ClientMessageID)
	for _, name := range m.Recipients {
		size += len(name) + len(`"",`)
	}
	b := make([]byte, 0, size)
	id := m.ID.String()
	b = append(b, `{"_id":"`...)
	b = append(b, id...)
	b = append(b, `","messageId":"`...)
	b = append(b, id...)
	b = append(b, `","sender":`...)
	b = api.AppendString(b, m.Sender)
	b = append(b, `,"encryptedContent":`...)
	b = api.AppendString(b, m.Content)
	b = append(b, `,"iv":`...)
	b = api.AppendString(b, m.IV)
	b = append(b, `,"recipients":`...)
	b = appendNames(b, m.Recipients)
	b = append(b, `,"timestamp":`...)
	b = api.AppendTime(b, m.CreatedAt)
	if m.ClientMessageID != "" {
		b = append(b, `,"clientMessageId":`...)
		b = api.AppendString(b, m.ClientMessageID)
	}
	if m.SenderKeyVersion != 0 {
		b = append(b, `,"senderKeyVersion":`...)
		b = strconv.AppendInt(b, int64(m.SenderKeyVersion), 10)
	}
	return &MessageEncoder{message: m, sender: store.Canonical(m.Sender), common: b}
}

// Size is roughly the size in bytes of an event with the message.
func (s *MessageEncoder) Size() int { return len(s.common) }

// Reference makes the event that only gives an entry's position, or Look if that is unknown.
func (s *MessageEncoder) Reference(e store.Entry) Event {
	if e.Position == 0 {
		return Event{Kind: Look, AcceptedAt: s.message.CreatedAt, ExpiresAt: e.ExpiresAt}
	}
	event := Event{Kind: Reference, Position: e.Position, AcceptedAt: s.message.CreatedAt, ExpiresAt: e.ExpiresAt}
	if e.Kind != store.Received {
		event.Kind = Empty
	}
	return event
}

// For makes the event of an entry as sent after the commit.
func (s *MessageEncoder) For(e store.Entry) Event {
	if !s.inline(e) {
		return s.Reference(e)
	}
	event := s.stored(e, nil)
	if event.Object.Len() > MaxInline {
		event.Kind, event.Object = Reference, JSON{}
	}
	return event
}

// AppendFor appends the event of an entry to a payload, like For and AppendTo.
func (s *MessageEncoder) AppendFor(b []byte, e store.Entry) []byte {
	var few [1024]byte
	var own []byte
	if s.inline(e) {
		own = s.readerPart(e).appendTo(few[:0], nil)
	}
	if own == nil || len(s.common)+len(own) > MaxInline {
		return s.Reference(e).AppendTo(b)
	}
	b = appendHead(b, Event{Kind: Inline, Position: e.Position, AcceptedAt: s.message.CreatedAt, ExpiresAt: e.ExpiresAt}, len(s.common)+len(own))
	b = append(b, s.common...)
	return append(b, own...)
}

// inline reports whether an entry's event may carry the message.
func (s *MessageEncoder) inline(e store.Entry) bool {
	return e.Position != 0 && e.Kind == store.Received && len(s.common) <= MaxInline
}

// stored makes the event of an entry with the message, whatever its size.
func (s *MessageEncoder) stored(e store.Entry, receipts []store.ReadReceipt) Event {
	object := make([]byte, 0, len(s.common)+len(e.WrappedKey)+2*len(e.User)+192)
	object = s.readerPart(e).appendTo(append(object, s.common...), receipts)
	return Event{Position: e.Position, Kind: Inline, AcceptedAt: s.message.CreatedAt, ExpiresAt: e.ExpiresAt, Object: JSON{Own: object}}
}

// own is the part of the object for one reader.
type own[T string | []byte] struct {
	position         int64
	unread, received bool
	// name and key are set if the reader received the message: name as the message spells it, key wrapped for version of the reader's key,
	// which is 0 if unknown.
	name, key T
	version   int
	// sender: the reader sent the message and sees who has read it.
	sender bool
}

func (s *MessageEncoder) readerPart(e store.Entry) own[string] {
	return s.spelled(e, &speller{names: s.message.Recipients})
}

func (s *MessageEncoder) spelled(e store.Entry, names *speller) own[string] {
	o := own[string]{
		position: e.Position, unread: inbox.Item{Entry: e}.Unread(), received: e.Kind == store.Received,
		key: e.WrappedKey, version: e.KeyVersion, sender: s.sender == e.User,
	}
	if o.received {
		o.name = names.spell(e.User)
	}
	return o
}

// appendTo appends the reader's JSON members and the end of the object.
func (o own[T]) appendTo(b []byte, receipts []store.ReadReceipt) []byte {
	b = append(b, `,"seq":`...)
	b = strconv.AppendInt(b, o.position, 10)
	b = append(b, `,"isUnread":`...)
	b = strconv.AppendBool(b, o.unread)
	b = append(b, `,"recipientKeys":{`...)
	if o.received {
		b = api.AppendString(b, o.name)
		b = append(b, ':')
		b = api.AppendString(b, o.key)
		if o.version > 0 {
			b = append(b, `},"recipientKeyVersions":{`...)
			b = api.AppendString(b, o.name)
			b = append(b, ':')
			b = strconv.AppendInt(b, int64(o.version), 10)
		}
	}
	b = append(b, '}')
	if o.sender {
		b = append(b, `,"readBy":[`...)
		for i, r := range receipts {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"username":`...)
			b = api.AppendString(b, r.User)
			b = append(b, `,"readAt":`...)
			b = append(api.AppendTime(b, r.ReadAt), '}')
		}
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendNames appends a list, or null for nil, like encoding/json.
func appendNames(b []byte, names []string) []byte {
	if names == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, name := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = api.AppendString(b, name)
	}
	return append(b, ']')
}
