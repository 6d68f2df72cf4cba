package sqlite

import (
	"context"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

// TestAReadThatIsGivenUpTellsNothingAndAnError, at whatever moment: no value of a row that was not read, and no part of an answer that
// looks like a whole one.
func TestAReadThatIsGivenUpTellsNothingAndAnError(t *testing.T) {
	s := openFile(t)
	const n = 20
	var ids []store.MessageID
	var entries []store.Entry
	var messages []store.Message
	asked := map[store.MessageID][]string{}
	for i := range int64(n) {
		e := prepared(i + 1)[0]
		e.ReadAt = time.Now()
		ids, entries, messages = append(ids, e.Message), append(entries, e), append(messages, store.Message{ID: e.Message, Content: "text"})
		asked[e.Message] = []string{"bob"}
	}
	require.NoError(t, s.CreateAccount(t.Context(), store.Account{Username: "bob", Key: store.Key{Version: 1}}))
	_, err := s.InsertEntries(t.Context(), entries)
	require.NoError(t, err)
	_, err = s.InsertMessages(t.Context(), messages)
	require.NoError(t, err)
	reads := map[string]func(ctx *ending) (any, error){
		"Decided":     func(ctx *ending) (any, error) { return s.Decided(ctx, ids) },
		"Messages":    func(ctx *ending) (any, error) { return s.Messages(ctx, ids) },
		"MessagesOf":  func(ctx *ending) (any, error) { return s.MessagesOf(ctx, entries) },
		"Entries":     func(ctx *ending) (any, error) { return s.Entries(ctx, "bob", 0, n) },
		"Tails":       func(ctx *ending) (any, error) { return s.Tails(ctx, []string{"bob", "carol"}) },
		"Receipts":    func(ctx *ending) (any, error) { return s.Receipts(ctx, asked) },
		"ListKeys":    func(ctx *ending) (any, error) { return s.ListKeys(ctx, "", n) },
		"KeyVersions": func(ctx *ending) (any, error) { return s.KeyVersions(ctx, []string{"bob"}) },
		"KeyHistory": func(ctx *ending) (any, error) {
			_, keys, err := s.KeyHistory(ctx, "bob")
			return keys, err
		},
	}
	for name, read := range reads {
		whole, err := read(endAfter(t.Context(), 1<<40))
		require.NoError(t, err)
		for range 5 {
			for looks := range int64(60) {
				got, err := read(endAfter(t.Context(), looks))
				if err != nil {
					require.ErrorIs(t, err, store.ErrUnavailable)
					require.Zero(t, reflect.ValueOf(got).Len(), "%s given up after %d looks", name, looks)
					continue
				}
				require.Equal(t, whole, got, "%s not given up after %d looks", name, looks)
			}
		}
	}
}

// TestDecidedOutlivesItsCaller: rows are closed while they are read when the caller goes away, and what is scanned then is nothing.
func TestDecidedOutlivesItsCaller(t *testing.T) {
	s := openFile(t)
	ids, messages := make([]store.MessageID, 500), make([]store.Message, 500)
	for i := range ids {
		ids[i] = store.NewMessageID(time.Now())
		messages[i].ID = ids[i]
	}
	_, err := s.InsertMessages(t.Context(), messages)
	require.NoError(t, err)
	for range 400 {
		ctx, cancel := context.WithTimeout(t.Context(), rand.N(2*time.Millisecond))
		found, err := s.Decided(ctx, ids)
		cancel()
		if err != nil {
			require.ErrorIs(t, err, store.ErrUnavailable)
			require.Empty(t, found)
		}
	}
}
