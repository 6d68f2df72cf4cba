package delivery

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
)

// Sheet is a message as JSON but for what differs between its readers, which For puts in. A message to a thousand
// recipients is encoded once.
type Sheet struct {
	message store.Message
	// common is the object's beginning, up to and without the first member that is a reader's own.
	common []byte
}

// common are the members of an api.Message that all its readers see alike. Their names and forms are those of
// api.Message; a test holds the two together.
type common struct {
	ObjectID         string   `json:"_id"`
	MessageID        string   `json:"messageId"`
	Sender           string   `json:"sender"`
	EncryptedContent string   `json:"encryptedContent"`
	IV               string   `json:"iv"`
	Recipients       []string `json:"recipients"`
	Timestamp        api.Time `json:"timestamp"`
	ClientMessageID  string   `json:"clientMessageId,omitempty"`
	SenderKeyVersion int      `json:"senderKeyVersion,omitempty"`
}

// NewSheet encodes what is common.
func NewSheet(m store.Message) (*Sheet, error) {
	id := m.ID.String()
	object, err := json.Marshal(common{
		ObjectID: id, MessageID: id, Sender: m.Sender, EncryptedContent: m.Content, IV: m.IV, Recipients: m.Recipients,
		Timestamp: api.At(m.CreatedAt), ClientMessageID: m.ClientMessageID, SenderKeyVersion: m.SenderKeyVersion,
	})
	if err != nil {
		return nil, fmt.Errorf("encode message object: %w", err)
	}
	return &Sheet{m, object[:len(object)-1]}, nil
}

// Size is about how many bytes an event with the message has.
func (s *Sheet) Size() int { return len(s.common) }

// Reference makes the event that only tells where one of the message's entries stands, if that is known.
func (s *Sheet) Reference(e store.Entry) Event {
	if e.Position == 0 {
		return Event{Kind: Look, AcceptedAt: s.message.CreatedAt, ExpiresAt: e.ExpiresAt}
	}
	event := Event{Kind: Reference, Position: e.Position, AcceptedAt: s.message.CreatedAt, ExpiresAt: e.ExpiresAt}
	if e.Kind != store.Received {
		event.Kind = Empty
	}
	return event
}

// For makes the event of one of the message's entries, as it is sent after the commit.
func (s *Sheet) For(e store.Entry) (Event, error) {
	if e.Position == 0 || e.Kind != store.Received || len(s.common) > MaxInline {
		return s.Reference(e), nil
	}
	event, err := s.stored(e, nil)
	if len(event.Object) > MaxInline {
		event.Kind, event.Object = Reference, nil
	}
	return event, err
}

// stored makes the event of an entry, whatever its size.
func (s *Sheet) stored(e store.Entry, receipts []store.ReadReceipt) (Event, error) {
	own := ownOf(inbox.Item{Entry: e, Message: s.message}, receipts)
	object := make([]byte, 0, len(s.common)+len(e.WrappedKey)+len(e.User)+128)
	object = append(object, s.common...)
	object = append(object, `,"seq":`...)
	object = strconv.AppendInt(object, e.Position, 10)
	object = append(object, `,"isUnread":`...)
	object = strconv.AppendBool(object, own.unread)
	object = append(object, `,"recipientKeys":{`...)
	if own.reader != "" {
		object = appendText(object, own.reader)
		object = append(object, ':')
		object = appendText(object, e.WrappedKey)
	}
	object = append(object, '}')
	if own.reader != "" && e.KeyVersion > 0 {
		object = append(object, `,"recipientKeyVersions":{`...)
		object = appendText(object, own.reader)
		object = append(object, ':')
		object = strconv.AppendInt(object, int64(e.KeyVersion), 10)
		object = append(object, '}')
	}
	if own.readBy != nil {
		text, err := json.Marshal(own.readBy)
		if err != nil {
			return Event{}, fmt.Errorf("encode receipts: %w", err)
		}
		object = append(append(object, `,"readBy":`...), text...)
	}
	return Event{
		Position: e.Position, Kind: Inline, AcceptedAt: s.message.CreatedAt, ExpiresAt: e.ExpiresAt, Object: append(object, '}'),
	}, nil
}

// appendText adds a JSON string.
func appendText(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(text) // a string: it cannot fail
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, text...)
	return append(b, '"')
}
