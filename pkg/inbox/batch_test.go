package inbox

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

// rowStore says of each entry where it has seen it.
type rowStore struct {
	store.Log
	rows []store.Entry
}

func (s *rowStore) InsertEntries(_ context.Context, entries []store.Entry) ([]store.EntryResult, error) {
	s.rows = entries
	results := make([]store.EntryResult, len(entries))
	for i := range entries {
		results[i].Existing = &entries[i]
	}
	return results, nil
}

// TestOfEntriesAtOnePositionOneIsInserted: the others learn that it is taken, and each result is that of its entry.
func TestOfEntriesAtOnePositionOneIsInserted(t *testing.T) {
	for name, users := range map[string]string{
		"none twice": "abc", "the last": "aa", "the first": "aabc", "several": "abacbca", "all": "aaaa", "far apart": "abcdea",
	} {
		t.Run(name, func(t *testing.T) {
			s := &rowStore{}
			w := &Writer{cfg: Config{Store: s}.withDefaults()}
			var entries []store.Entry
			first := map[rune]int{}
			for i, user := range users {
				if _, there := first[user]; !there {
					first[user] = i
				}
				entries = append(entries, store.Entry{User: string(user), Position: 1, WrappedKey: fmt.Sprint(i)})
			}
			results, err := w.insertEntries(t.Context(), entries)
			require.NoError(t, err)
			require.Len(t, results, len(entries))
			require.Len(t, s.rows, len(first))
			for i, user := range users {
				require.Equal(t, first[user] != i, results[i].PositionTaken, "entry %d", i)
				if !results[i].PositionTaken {
					require.Equal(t, fmt.Sprint(i), results[i].Existing.WrappedKey)
				}
			}
		})
	}
}
