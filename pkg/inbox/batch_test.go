package inbox

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

// rowStore reports entries with an even WrappedKey as written.
type rowStore struct {
	store.Log
	rows []store.Entry
}

func (s *rowStore) InsertEntries(_ context.Context, entries []store.Entry) ([]bool, error) {
	s.rows = entries
	written := make([]bool, len(entries))
	for i := range entries {
		written[i] = isEven(entries[i].WrappedKey)
	}
	return written, nil
}

func isEven(number string) bool { return strings.ContainsAny(number[len(number)-1:], "02468") }

// TestOfEntriesAtOnePositionOneIsInserted: the others are reported as refused, and each result belongs to its entry.
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
			written, err := w.insertEntries(t.Context(), entries)
			require.NoError(t, err)
			require.Len(t, written, len(entries))
			require.Len(t, s.rows, len(first))
			for i, user := range users {
				require.Equal(t, first[user] == i && isEven(fmt.Sprint(i)), written[i], "entry %d", i)
			}
		})
	}
}
