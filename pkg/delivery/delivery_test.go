package delivery_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
)

func item(reader string, kind store.EntryKind) inbox.Item {
	return inbox.Item{
		Entry: store.Entry{User: reader, Position: 7, Kind: kind, WrappedKey: "key for " + reader, KeyVersion: 3, ExpiresAt: time.UnixMilli(1800000000000)},
		Message: store.Message{
			ID: store.MessageID{1}, Sender: "Alice", Recipients: []string{"Alice", "Bob"}, Content: "c1pher", IV: "iv",
			CreatedAt: time.UnixMilli(1700000000123),
		},
	}
}

func TestAnEventSurvivesItsEncoding(t *testing.T) {
	for _, kind := range []store.EntryKind{store.Received, store.Sent} {
		event := delivery.For(item("bob", kind))
		list, err := delivery.Decode(event.Encode())
		require.NoError(t, err)
		require.Len(t, list, 1)
		again := list[0]
		require.Equal(t, event.Position, again.Position)
		require.Equal(t, event.Kind, again.Kind)
		require.Equal(t, event.AcceptedAt.UnixMilli(), again.AcceptedAt.UnixMilli())
		require.Equal(t, event.ExpiresAt.UnixMilli(), again.ExpiresAt.UnixMilli())
		require.True(t, bytes.Equal(event.Object.AppendTo(nil), again.Object.AppendTo(nil)))
	}
}

func TestALargeMessageTravelsAsAReference(t *testing.T) {
	large := item("bob", store.Received)
	large.Message.Content = strings.Repeat("x", delivery.MaxInline+1)
	event := delivery.For(large)
	require.Equal(t, delivery.Reference, event.Kind)
	require.Empty(t, event.Object)
	require.Equal(t, string(event.Encode()), string(delivery.NewMessageEncoder(large.Message).AppendFor(nil, large.Entry)))
}

func TestAnObjectHoldsItsReadersKeyAndNobodyElses(t *testing.T) {
	object := delivery.Object(item("bob", store.Received), nil)
	require.Equal(t, map[string]string{"Bob": "key for bob"}, object.RecipientKeys)
	require.Equal(t, map[string]int{"Bob": 3}, object.RecipientKeyVersions)
	require.True(t, object.IsUnread)
	require.Nil(t, object.ReadBy)
}

func TestOnlyTheSenderSeesReceipts(t *testing.T) {
	receipts := []store.ReadReceipt{{User: "Bob", ReadAt: time.UnixMilli(5)}}
	require.Nil(t, delivery.Object(item("bob", store.Received), receipts).ReadBy)
	sent := delivery.Object(item("alice", store.Sent), receipts)
	require.Equal(t, []api.Receipt{{Username: "Bob", ReadAt: api.At(time.UnixMilli(5))}}, *sent.ReadBy)
	require.Empty(t, sent.RecipientKeys)
	require.False(t, sent.IsUnread)
}

func TestWhatIsNoEventIsRefused(t *testing.T) {
	for _, payload := range []string{"", "m", "m 1 2 3 2", "m 1 2 3 0\n", "x 1 2 3 2\n{}", "m 0 2 3 2\n{}", "m -1 2 3 2\n{}", "m one 2 3 2\n{}", "m 1 2 x 2\n{}", "e 1 2 3 2\n{}",
		"mm 1 2 3 2\n{}", "m 1 2\n{}", "m 1 2 3\n{}", "m 1 2 3 4 2\n{}", "m 1 2 3 2\n{", "m 1 2 3 -1\n{}", "e 1 2 3 0\n{}", "m 1 2 3 2\n{}e", "m 1 2 3 1\n{}"} {
		_, err := delivery.Decode([]byte(payload))
		require.ErrorIs(t, err, delivery.ErrMalformed, payload)
	}
}

func FuzzDecode(f *testing.F) {
	event := delivery.For(item("bob", store.Received))
	f.Add(event.Encode())
	f.Add([]byte("e 1 2 3 0\n"))
	f.Add(event.AppendTo([]byte("e 1 2 3 0\n")))
	f.Fuzz(func(t *testing.T, payload []byte) {
		events, err := delivery.Decode(payload)
		if err != nil {
			return
		}
		var encoded []byte
		for _, e := range events {
			encoded = e.AppendTo(encoded)
		}
		again, err := delivery.Decode(encoded)
		require.NoError(t, err)
		require.Equal(t, events, again)
	})
}

func TestSeveralEventsOfOneUserTravelTogether(t *testing.T) {
	first := delivery.For(item("bob", store.Received))
	payload := first.Encode()
	second := delivery.Event{Kind: delivery.Empty, Position: 8, AcceptedAt: time.UnixMilli(1), ExpiresAt: time.UnixMilli(2)}
	payload = second.AppendTo(payload)
	events, err := delivery.Decode(payload)
	require.NoError(t, err)
	require.Len(t, events, 2)
	require.Equal(t, string(first.Object.AppendTo(nil)), string(events[0].Object.AppendTo(nil)))
	require.Equal(t, second, events[1])
}

// TestASheetSaysWhatTheObjectSays: two code paths make the same JSON, one of them for speed.
func TestASheetSaysWhatTheObjectSays(t *testing.T) {
	receipts := []store.ReadReceipt{{User: "Bob", ReadAt: time.UnixMilli(5)}}
	odd := item("bob", store.Received)
	odd.Entry.WrappedKey, odd.Message.ClientMessageID, odd.Message.SenderKeyVersion = "\"\\<é\x00\u2028\x7f", "c<1>", 4
	read := item("bob", store.Received)
	read.Entry.ReadAt, read.Entry.KeyVersion = time.UnixMilli(9), 0
	gone := item("carol", store.Received) // not among the names: the canonical name is shown
	for _, i := range []inbox.Item{item("bob", store.Received), item("alice", store.Received), item("alice", store.Sent), odd, read, gone} {
		want, err := json.Marshal(delivery.Object(i, receipts))
		require.NoError(t, err)
		event := delivery.Stored(i, receipts)
		require.JSONEq(t, string(want), string(event.Object.AppendTo(nil)))
		require.Equal(t, len(want), event.Object.Len())
		encoder := delivery.NewMessageEncoder(i.Message)
		require.Equal(t, string(encoder.For(i.Entry).Encode()), string(encoder.AppendFor(nil, i.Entry)))
	}
}

func TestTheObjectIsTheContractsJSON(t *testing.T) {
	text, err := json.Marshal(delivery.Object(item("bob", store.Received), nil))
	require.NoError(t, err)
	require.JSONEq(t, `{"_id":"010000000000000000000000","messageId":"010000000000000000000000","seq":7,"sender":"Alice",
		"encryptedContent":"c1pher","iv":"iv","recipientKeys":{"Bob":"key for bob"},"recipientKeyVersions":{"Bob":3},
		"recipients":["Alice","Bob"],"timestamp":"2023-11-14T22:13:20.123Z","isUnread":true}`, string(text))
}
