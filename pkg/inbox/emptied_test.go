package inbox_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// emptied is a store whose retention has removed all entries of an inbox that ended at end. Like MongoDB's it knows the end while the inbox
// is empty, and else goes by the highest entry. Of several entries it writes the lower half, and fails.
type emptied struct {
	*pebble.Store
	end int64
}

func (s *emptied) tail(ctx context.Context, user string) (int64, error) {
	entries, err := s.Entries(ctx, user, 0, s.end)
	if len(entries) == 0 {
		return s.end, err
	}
	return entries[len(entries)-1].Position, err
}

func (s *emptied) Tails(ctx context.Context, users []string) (map[string]store.Tail, error) {
	tails := map[string]store.Tail{}
	for _, user := range users {
		position, err := s.tail(ctx, user)
		if err != nil {
			return nil, err
		}
		tails[user] = store.Tail{Position: position}
	}
	return tails, nil
}

func (s *emptied) InsertEntries(ctx context.Context, entries []store.Entry) ([]bool, error) {
	if len(entries) == 1 {
		return s.Store.InsertEntries(ctx, entries)
	}
	if _, err := s.Store.InsertEntries(ctx, entries[:len(entries)/2]); err != nil {
		return nil, err
	}
	return nil, errors.New("written in part")
}

// TestTheEndOfAnEmptiedInboxStandsThoughHolesAreWrittenInPart: the highest hole that was written was taken for the end. Clients that were
// further were reset, and the positions above could have been handed out again.
func TestTheEndOfAnEmptiedInboxStandsThoughHolesAreWrittenInPart(t *testing.T) {
	s, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	clock := time.Now()
	log := &emptied{Store: s, end: 24}
	reader := inbox.NewReader(inbox.Config{Store: log, Now: func() time.Time { return clock }})
	batch, err := reader.Read(t.Context(), "ben", 0, 10)
	require.NoError(t, err)
	require.True(t, batch.Blocked)
	clock = clock.Add(inbox.DefaultHoleTimeout)
	_, err = reader.Read(t.Context(), "ben", 0, 10)
	require.ErrorContains(t, err, "written in part")
	end, err := log.tail(t.Context(), "ben")
	require.NoError(t, err)
	require.Equal(t, log.end, end)
	batch, err = reader.Read(t.Context(), "ben", log.end, 10)
	require.NoError(t, err)
	require.False(t, batch.PastHead)
}
