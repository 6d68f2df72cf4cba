package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/sqlite"
)

// TestEntriesKnowWhereTheirMessagesAre, so that no search by id is needed, though messages are committed in another order; and it is
// made where an entry is wrong.
func TestEntriesKnowWhereTheirMessagesAre(t *testing.T) {
	const n = 50
	o := &observations{told: map[string][]bool{}}
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db"), sqlite.WithObserver(o.observe))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	messages := make([]store.Message, n)
	for i := range messages {
		m, e := message(int64(i + 1))
		messages[n-1-i] = m
		for range 2 { // a send that was begun again
			_, err = s.InsertEntries(t.Context(), []store.Entry{e})
			require.NoError(t, err)
		}
	}
	_, err = s.InsertMessages(t.Context(), messages)
	require.NoError(t, err)
	entries, err := s.Entries(t.Context(), "ann", 0, n)
	require.NoError(t, err)
	require.Len(t, entries, n)
	for turn, searches := range []int{0, 1} {
		found, err := s.MessagesOf(t.Context(), entries)
		require.NoError(t, err)
		require.Len(t, found, n)
		require.Len(t, o.told["messages"], turn+1+searches)
		entries[0].Place++
	}
}
