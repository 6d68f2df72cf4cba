package pebble_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// message makes a message to Ann, and her entry at a position.
func message(position int64) (store.Message, store.Entry) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	m := store.Message{
		ID: store.NewMessageID(now), Sender: "Ben", Recipients: []string{"Ann"}, Positions: []int64{position}, Content: "text", CreatedAt: now, ExpiresAt: now.Add(time.Hour),
		PurgeAt: now.Add(time.Hour),
	}
	return m, store.Entry{
		User: "ann", Position: position, Kind: store.Received, Message: m.ID, WrappedKey: "key", At: now, ExpiresAt: m.ExpiresAt, PurgeAt: m.ExpiresAt,
	}
}

// put commits a message in two steps.
func put(t testing.TB, s store.Log, m store.Message, e store.Entry) {
	t.Helper()
	written, err := s.InsertEntries(context.Background(), []store.Entry{e})
	require.NoError(t, err)
	require.Equal(t, []bool{true}, written)
	written, err = s.InsertMessages(context.Background(), []store.Message{m})
	require.NoError(t, err)
	require.Equal(t, []bool{true}, written)
}

func TestABackupOfAStoreThatIsWrittenIsTheStoreAtOneMoment(t *testing.T) {
	dir := t.TempDir()
	s := open(t, filepath.Join(dir, "store"), small)
	epoch, err := s.Epoch(t.Context())
	require.NoError(t, err)
	var acknowledged atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var writer sync.WaitGroup
	writer.Go(func() {
		for position := int64(1); ctx.Err() == nil; position++ {
			m, e := message(position)
			put(t, s, m, e)
			acknowledged.Store(position)
		}
	})
	defer writer.Wait()
	defer cancel()
	for _, name := range []string{"odd name #?%41 ä", "second"} {
		before := acknowledged.Load() + 50
		require.Eventually(t, func() bool { return acknowledged.Load() >= before }, time.Minute, time.Millisecond)
		to := filepath.Join(dir, name)
		require.NoError(t, s.Backup(t.Context(), to))
		after := acknowledged.Load() + 1
		info, err := os.Stat(to)
		require.NoError(t, err)
		require.Equal(t, os.ModeDir|0o700, info.Mode())
		require.ErrorIs(t, s.Backup(t.Context(), to), os.ErrExist, "it overwrites nothing")

		folder := filepath.Join(dir, name+" restored")
		require.NoError(t, pebble.Restore(t.Context(), to, folder))
		require.ErrorIs(t, pebble.Restore(t.Context(), to, folder), os.ErrExist)
		restored := open(t, folder, small)
		entries, err := restored.Entries(t.Context(), "ann", 0, after)
		require.NoError(t, err)
		require.GreaterOrEqual(t, int64(len(entries)), before, "what was acknowledged before the backup")
		for i, e := range entries {
			require.EqualValues(t, i+1, e.Position)
			found, err := restored.MessagesOf(t.Context(), []store.Entry{e})
			require.NoError(t, err)
			if i < len(entries)-1 { // the last one may have been under way
				require.Equal(t, "text", found[e.Message].Content)
			}
		}
		standing, err := restored.Epoch(t.Context())
		require.NoError(t, err)
		require.Equal(t, epoch, standing)
		m, e := message(1 << 40)
		put(t, restored, m, e) // this must not change the copy
		require.NoError(t, pebble.Check(t.Context(), to))
	}
}

func TestWhatIsNoStoreIsNeitherCheckedNorRestored(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "text"), []byte("text"), 0o600))
	for _, wrong := range []string{"nowhere", "empty", "text"} {
		from := filepath.Join(dir, wrong)
		require.ErrorIs(t, pebble.Check(t.Context(), from), pebble.ErrDamaged, wrong)
		require.Error(t, pebble.Restore(t.Context(), from, filepath.Join(dir, "to")), wrong)
		require.NoDirExists(t, filepath.Join(dir, "to"))
	}
}
