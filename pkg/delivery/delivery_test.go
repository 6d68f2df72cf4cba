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
		event, err := delivery.For(item("bob", kind))
		require.NoError(t, err)
		again, err := delivery.Decode(event.Encode())
		require.NoError(t, err)
		require.Equal(t, event.Position, again.Position)
		require.Equal(t, event.Kind, again.Kind)
		require.Equal(t, event.AcceptedAt.UnixMilli(), again.AcceptedAt.UnixMilli())
		require.Equal(t, event.ExpiresAt.UnixMilli(), again.ExpiresAt.UnixMilli())
		require.True(t, bytes.Equal(event.Object, again.Object))
	}
}

func TestALargeMessageTravelsAsAReference(t *testing.T) {
	large := item("bob", store.Received)
	large.Message.Content = strings.Repeat("x", delivery.MaxInline+1)
	event, err := delivery.For(large)
	require.NoError(t, err)
	require.Equal(t, delivery.Reference, event.Kind)
	require.Empty(t, event.Object)
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
	for _, payload := range []string{"", "m", "m 1 2 3", "m 1 2 3\n", "x 1 2 3\n{}", "m 0 2 3\n{}", "m -1 2 3\n{}", "m one 2 3\n{}", "m 1 2 x\n{}", "e 1 2 3\n{}", "mm 1 2 3\n{}", "m 1 2\n{}", "m 1 2 3 4\n{}"} {
		_, err := delivery.Decode([]byte(payload))
		require.ErrorIs(t, err, delivery.ErrMalformed, payload)
	}
}

func FuzzDecode(f *testing.F) {
	event, _ := delivery.For(item("bob", store.Received))
	f.Add(event.Encode())
	f.Add([]byte("e 1 2 3\n"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		event, err := delivery.Decode(payload)
		if err != nil {
			return
		}
		again, err := delivery.Decode(event.Encode())
		require.NoError(t, err)
		require.Equal(t, event.Position, again.Position)
	})
}

func TestTheObjectIsTheContractsJSON(t *testing.T) {
	text, err := json.Marshal(delivery.Object(item("bob", store.Received), nil))
	require.NoError(t, err)
	require.JSONEq(t, `{"_id":"010000000000000000000000","messageId":"010000000000000000000000","seq":7,"sender":"Alice",
		"encryptedContent":"c1pher","iv":"iv","recipientKeys":{"Bob":"key for bob"},"recipientKeyVersions":{"Bob":3},
		"recipients":["Alice","Bob"],"timestamp":"2023-11-14T22:13:20.123Z","isUnread":true}`, string(text))
}
