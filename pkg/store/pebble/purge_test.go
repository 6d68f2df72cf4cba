package pebble_test

import (
	"testing"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// TestAPurgeRemovesEachEntryWhenItIsDue, and counts it once: also in an inbox that takes more than one turn, in one that the store had not
// cached when an entry was added, and behind entries that are due later.
func TestAPurgeRemovesEachEntryWhenItIsDue(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, folder, pebble.Options{Memory: small.Memory, FS: fs})
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	const step, most = 5 * time.Minute, 1300 // over four days
	insert := func(user string, position int, due time.Time) {
		written, err := s.InsertEntries(t.Context(), []store.Entry{{
			User: user, Position: int64(position), Kind: store.Sent, Message: store.NewMessageID(start), At: start, ExpiresAt: due, PurgeAt: due,
		}})
		require.NoError(t, err)
		require.Equal(t, []bool{true}, written)
	}
	for position := 1; position <= most; position++ {
		due := start.Add(time.Duration(position) * step)
		insert("ann", position, due)
		if position%20 == 0 {
			insert("bob", position, due)
		}
		if position%400 == 0 {
			require.NoError(t, s.Close())
			s = open(t, folder, pebble.Options{Memory: small.Memory, FS: fs})
		}
	}
	insert("carl", 1, start.Add(most*step)) // the first is due last, but on the same day
	insert("carl", 2, start.Add((most-1)*step))
	left := func(user string) int {
		entries, err := s.Entries(t.Context(), user, 0, most)
		require.NoError(t, err)
		return len(entries)
	}
	gone := 0
	for _, upTo := range []int{0, 1, 2, 100, 101, 400, 1200, most - 1, most} {
		removed, err := s.Purge(t.Context(), start.Add(time.Duration(upTo)*step))
		require.NoError(t, err)
		require.Equal(t, most-upTo, left("ann"))
		require.Equal(t, most/20-upTo/20, left("bob"))
		require.Equal(t, min(2, most-upTo), left("carl"))
		now := most + most/20 + 2 - left("ann") - left("bob") - left("carl")
		require.EqualValues(t, now-gone, removed, "up to %d", upTo)
		gone = now
	}
	rows, err := s.Engine().NewIter(&engine.IterOptions{LowerBound: []byte{'p'}, UpperBound: []byte{'p' + 1}})
	require.NoError(t, err)
	require.False(t, rows.First(), "nothing is left to be looked for")
	require.NoError(t, rows.Close())
}
