package mongo

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/sealpost/sealpost/pkg/store"
)

// TestDocumentsOfALaterVersionCanBeRead because nodes of two versions run side by side while one replaces the other: fields
// that are not known are passed over, in documents and in those within.
func TestDocumentsOfALaterVersionCanBeRead(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000).UTC()
	key := keyFields{Version: 3, PEM: "pem", Fingerprint: "print", CreatedAt: now}
	for _, document := range []any{
		userDocument{ID: "ann", Name: "Ann", Hash: "hash", Generation: 7, CreatedAt: now, LastLogin: now, Key: key},
		entryDocument{ID: "ann/1", User: "ann", Position: 5, Kind: store.Sent, Digest: []byte{1}, WrappedKey: "k", KeyVersion: 2, At: now, ExpiresAt: now, PurgeAt: now},
		messageDocument{Sender: "Ann", Recipients: []string{"Ben"}, Content: "c", IV: "iv", ClientMessageID: "id", Digest: []byte{2}, CreatedAt: now, ExpiresAt: now, PurgeAt: now, Erased: true},
		cursorDocument{ID: "ann", Position: 9, Offered: 10, ExpiresAt: now},
		markDocument{ID: "ann/block-1", User: "ann", Block: -1},
		metaDocument{Name: "epoch", Value: []byte("e1")},
	} {
		text, err := bson.Marshal(document)
		require.NoError(t, err)
		var later bson.D
		require.NoError(t, bson.Unmarshal(text, &later))
		for i := range later {
			if within, nested := later[i].Value.(bson.D); nested {
				later[i].Value = append(bson.D{{Key: "unheardOf", Value: bson.A{1, "two"}}}, within...)
			}
		}
		later = append(bson.D{{Key: "unheardOf", Value: bson.D{{Key: "x", Value: 1}}}}, later...)
		text, err = bson.Marshal(later)
		require.NoError(t, err)
		read := reflect.New(reflect.TypeOf(document))
		require.NoError(t, bson.Unmarshal(text, read.Interface()))
		require.Equal(t, document, read.Elem().Interface())
	}
}

// TestASessionOfAnEarlierVersionIsOfferedMessages, which has not counted its offers.
func TestASessionOfAnEarlierVersionIsOfferedMessages(t *testing.T) {
	s, err := Open(t.Context(), planDatabase(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	_, err = s.sessions.InsertOne(t.Context(), bson.D{eq("_id", sessionKey("bob", "s")), eq("p", int64(4)), eq("offered", int64(4)), eq("expiresAt", time.Now().Add(time.Hour))})
	require.NoError(t, err)
	seen, err := s.SessionCursor(t.Context(), "bob", "s")
	require.NoError(t, err)
	for _, want := range []bool{true, false} {
		ok, err := s.OfferSession(t.Context(), "bob", "s", seen, 5)
		require.NoError(t, err)
		require.Equal(t, want, ok)
	}
	seen, err = s.SessionCursor(t.Context(), "bob", "s")
	require.NoError(t, err)
	require.Equal(t, store.SessionCursor{Position: 4, Offered: 5, Offers: 1}, seen)
}

// TestMessagesOfAnEarlierVersionAreErasedAndTheirIdsKept: that version had the server remove them when they expired, and gave them no
// moment to be purged at.
func TestMessagesOfAnEarlierVersionAreErasedAndTheirIdsKept(t *testing.T) {
	cfg := planDatabase(t)
	s, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	_, err = s.messages.Indexes().CreateOne(t.Context(), expiry("expiresAt"))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s, err = Open(t.Context(), cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	indexes, err := s.messages.Indexes().ListSpecifications(t.Context())
	require.NoError(t, err)
	for _, index := range indexes {
		require.NotEqual(t, surpassed, index.Name, "the server still removes messages that have expired")
	}
	created := time.Now().UTC().Truncate(time.Millisecond).Add(-time.Hour)
	const many = 2*eraseBatch + 1 // so that more than one batch is needed
	ids, documents := make([]store.MessageID, many), make([]any, many)
	for i := range ids {
		ids[i] = store.NewMessageID(created)
		documents[i] = bson.D{
			eq("_id", bson.ObjectID(ids[i])), eq("sender", "Ann"), eq("recipients", bson.A{"Ben"}), eq("content", "c"), eq("iv", "iv"), eq("digest", []byte{7}),
			eq("createdAt", created), eq("expiresAt", created.Add(time.Minute)),
		}
	}
	_, err = s.messages.InsertMany(t.Context(), documents)
	require.NoError(t, err)
	erased, err := s.EraseExpired(t.Context(), time.Now())
	require.NoError(t, err)
	require.EqualValues(t, many, erased)
	found, err := s.Messages(t.Context(), ids)
	require.NoError(t, err)
	require.Len(t, found, many)
	for id, m := range found {
		require.Equal(t, store.Message{
			ID: id, Sender: "Ann", Digest: store.Digest{7}, CreatedAt: created, ExpiresAt: created.Add(time.Minute), PurgeAt: created.Add(keptWithout), Erased: true,
		}, m)
	}
	erased, err = s.EraseExpired(t.Context(), time.Now())
	require.NoError(t, err)
	require.Zero(t, erased)
}
