package mongo

import (
	"context"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/sealpost/sealpost/pkg/store"
)

// TestDocumentsOfALaterVersionCanBeRead: nodes of two versions run side by side during an upgrade. Unknown fields are ignored, in documents
// and in nested ones.
func TestDocumentsOfALaterVersionCanBeRead(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000).UTC()
	key := keyFields{Version: 3, PEM: "pem", Fingerprint: "print", CreatedAt: now}
	for _, document := range []any{
		userDocument{ID: "ann", Name: "Ann", Hash: "hash", Generation: 7, CreatedAt: now, LastLogin: now, Key: key, Addresses: []int64{-4, 5}},
		entryDocument{ID: placeID("ann", 5), User: "ann", Position: 5, Kind: store.Sent, WrappedKey: "k", KeyVersion: 2, At: now, ExpiresAt: now, PurgeAt: now},
		messageDocument{Sender: "Ann", Recipients: []string{"Ben"}, Positions: []byte{5}, Content: "c", IV: "iv", ClientMessageID: "id", Digest: []byte{2}, CreatedAt: now, PurgeAt: now, EraseAt: now, Erased: true},
		cursorDocument{ID: "ann", Position: 9, Offered: 10, ExpiresAt: now},
		markOf("ann", 7, now, now),
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

// TestASessionOfAnEarlierVersionIsOfferedMessages: such a session has no count of offers.
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

// TestContentsAreErasedHoweverManyHaveExpired: by several nodes at once, and each is counted once.
func TestContentsAreErasedHoweverManyHaveExpired(t *testing.T) {
	s, err := Open(t.Context(), planDatabase(t))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	const many, nodes = 2*eraseBatch + 1, 3
	now := time.Now().UTC().Truncate(time.Millisecond)
	ids, messages := make([]store.MessageID, many), make([]store.Message, many)
	for i := range ids {
		ids[i] = store.NewMessageID(now)
		messages[i] = store.Message{ID: ids[i], Content: "c", CreatedAt: now, ExpiresAt: now.Add(-time.Second), PurgeAt: now.Add(time.Hour)}
	}
	_, err = s.InsertMessages(t.Context(), messages)
	require.NoError(t, err)
	var all sync.WaitGroup
	var erased atomic.Int64
	for range nodes {
		all.Go(func() {
			n, err := s.EraseExpired(context.Background(), now)
			require.NoError(t, err)
			erased.Add(n)
		})
	}
	all.Wait()
	require.EqualValues(t, many, erased.Load())
	found, err := s.Messages(t.Context(), ids)
	require.NoError(t, err)
	require.Len(t, found, many)
	for _, m := range found {
		require.True(t, m.Erased)
		require.Empty(t, m.Content)
	}
}
