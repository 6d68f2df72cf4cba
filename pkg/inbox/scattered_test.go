package inbox_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// TestWhatIsUndecidedHereAndThereIsDecidedInOneRead: a store that wrote every other entry of many tries left forty positions between others. Each
// took a read of its own, and a gateway pauses before the next: a message behind them came after a minute and a half.
func TestWhatIsUndecidedHereAndThereIsDecidedInOneRead(t *testing.T) {
	s, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	const holes = 40
	old := time.Now().Add(-time.Hour)
	var entries []store.Entry
	var messages []store.Message
	for i := range holes {
		e := store.Entry{
			User: "ben", Position: int64(2*i + 2), Kind: store.Received, Message: store.NewMessageID(old), At: old, ExpiresAt: old.Add(24 * time.Hour),
			PurgeAt: old.Add(24 * time.Hour),
		}
		entries = append(entries, e)
		messages = append(messages, store.Message{
			ID: e.Message, CreatedAt: old, ExpiresAt: e.ExpiresAt, PurgeAt: e.PurgeAt, Tombstone: i < holes-1, Sender: "Ann", Content: "last",
		})
	}
	_, err = s.InsertEntries(t.Context(), entries)
	require.NoError(t, err)
	_, err = s.InsertMessages(t.Context(), messages)
	require.NoError(t, err)
	batch, err := inbox.NewReader(inbox.Config{Store: s}).Read(t.Context(), "ben", 0, 10)
	require.NoError(t, err)
	require.Len(t, batch.Items, 1)
	require.EqualValues(t, 2*holes, batch.Next)
	require.Len(t, batch.Skipped, 2*holes-1)
}
