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

// TestWhatIsUndecidedHereAndThereIsDecidedInOneRead: a store wrote every other entry of many attempts, which left forty missing positions
// between others. Each took a read, and a gateway pauses before the next: the message behind them came after a minute and a half.
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
			Recipients: []string{"Ben"}, Positions: []int64{e.Position},
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

// far is an inbox with a thousand positions up to its only message, and a clock that the test moves.
type far struct {
	t     *testing.T
	store *tearing
	clock time.Time
	read  func() (inbox.Batch, error)
}

// tearing is a store whose next InsertEntries writes every other entry and fails.
type tearing struct {
	*pebble.Store
	tear bool
}

func (s *tearing) InsertEntries(ctx context.Context, entries []store.Entry) ([]bool, error) {
	if !s.tear {
		return s.Store.InsertEntries(ctx, entries)
	}
	s.tear = false
	var half []store.Entry
	for i := 1; i < len(entries); i += 2 {
		half = append(half, entries[i])
	}
	if _, err := s.Store.InsertEntries(ctx, half); err != nil {
		return nil, err
	}
	return nil, errors.New("written in part")
}

const farPosition = 1000

// newFar makes one with entries of aborted messages at the positions that failed selects.
func newFar(t *testing.T, failed func(position int64) bool) *far {
	s, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	f := &far{t: t, store: &tearing{Store: s}, clock: time.Now()}
	reader := inbox.NewReader(inbox.Config{Store: f.store, Now: func() time.Time { return f.clock }})
	after := int64(0)
	f.read = func() (inbox.Batch, error) {
		batch, err := reader.Read(t.Context(), "ben", after, 10)
		after = batch.Next
		return batch, err
	}
	for p := int64(1); p <= farPosition; p++ {
		if p < farPosition && !failed(p) {
			continue
		}
		e := store.Entry{
			User: "ben", Position: p, Kind: store.Received, Message: store.NewMessageID(f.clock), At: f.clock,
			ExpiresAt: f.clock.Add(24 * time.Hour), PurgeAt: f.clock.Add(24 * time.Hour),
		}
		_, err = s.InsertEntries(t.Context(), []store.Entry{e})
		require.NoError(t, err)
		_, err = s.InsertMessages(t.Context(), []store.Message{{
			ID: e.Message, CreatedAt: f.clock, ExpiresAt: e.ExpiresAt, PurgeAt: e.PurgeAt, Tombstone: p < farPosition, Sender: "Ann", Content: "last",
			Recipients: []string{"Ben"}, Positions: []int64{p},
		}})
		require.NoError(t, err)
	}
	return f
}

// comesNow reads on while the clock stands still: nothing may be left to wait for.
func (f *far) comesNow() {
	f.t.Helper()
	for range farPosition {
		batch, err := f.read()
		require.NoError(f.t, err)
		if len(batch.Items) > 0 {
			return
		}
		require.True(f.t, batch.More || batch.Blocked)
	}
	f.t.Fatal("the message does not come until more time has passed")
}

// TestWhatIsUndecidedFarAheadIsWaitedForTogether: a read watched only its window of 128 positions, and the next window only once it got
// there: five seconds each.
func TestWhatIsUndecidedFarAheadIsWaitedForTogether(t *testing.T) {
	f := newFar(t, func(p int64) bool { return p%2 == 0 })
	batch, err := f.read()
	require.NoError(t, err)
	require.True(t, batch.Blocked)
	f.clock = f.clock.Add(inbox.DefaultHoleTimeout)
	f.comesNow()
}

// TestTombstonesThatAreWrittenInPartAreNotWaitedForAnew: a thousand positions were decided as empty, but only every other hole was written.
// The rest was watched as if newly missing, 128 positions at a time: the message behind them came after 100 seconds.
func TestTombstonesThatAreWrittenInPartAreNotWaitedForAnew(t *testing.T) {
	f := newFar(t, func(int64) bool { return false })
	batch, err := f.read()
	require.NoError(t, err)
	require.True(t, batch.Blocked)
	f.clock = f.clock.Add(inbox.DefaultHoleTimeout)
	f.store.tear = true
	_, err = f.read()
	require.Error(t, err)
	require.False(t, f.store.tear)
	f.comesNow()
}
