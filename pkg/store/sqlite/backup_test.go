package sqlite_test

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
	"github.com/sealpost/sealpost/pkg/store/sqlite"
)

// message is one to Ann, with her entry at a position.
func message(position int64) (store.Message, store.Entry) {
	now := time.Now()
	m := store.Message{ID: store.NewMessageID(now), Sender: "Ben", Recipients: []string{"Ann"}, Content: "text", CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
	return m, store.Entry{User: "ann", Position: position, Kind: store.Received, Message: m.ID, At: now, ExpiresAt: m.ExpiresAt, PurgeAt: m.ExpiresAt}
}

// writing commits messages one after another until stop is called, which returns how many there are.
func writing(t *testing.T, s *sqlite.Store, acknowledged *atomic.Int64) (stop func() int64) {
	ctx, cancel := context.WithCancel(context.Background())
	var writer sync.WaitGroup
	writer.Go(func() {
		for position := int64(1); ctx.Err() == nil; position++ {
			m, e := message(position)
			if _, err := s.InsertEntries(context.Background(), []store.Entry{e}); err != nil {
				t.Error(err)
				return
			}
			if _, err := s.InsertMessages(context.Background(), []store.Message{m}); err != nil {
				t.Error(err)
				return
			}
			acknowledged.Store(position)
		}
	})
	return func() int64 {
		cancel()
		writer.Wait()
		return acknowledged.Load()
	}
}

func TestABackupOfAFileThatIsWrittenIsTheFileAtOneMoment(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "db"), filepath.Join(dir, "odd name #?%41 ä.db")
	s := open(t, from)
	var acknowledged atomic.Int64
	stop := writing(t, s, &acknowledged)
	t.Cleanup(func() { stop() })
	require.Eventually(t, func() bool { return acknowledged.Load() >= 50 }, time.Minute, time.Millisecond)
	before := acknowledged.Load()
	require.NoError(t, sqlite.Backup(t.Context(), from, to))
	after := stop() + 1
	info, err := os.Stat(to)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	restored := open(t, to)
	entries, err := restored.Entries(t.Context(), "ann", 0, after)
	require.NoError(t, err)
	require.GreaterOrEqual(t, int64(len(entries)), before, "what was acknowledged before the backup")
	for i, e := range entries {
		require.EqualValues(t, i+1, e.Position)
		found, err := restored.Messages(t.Context(), []store.MessageID{e.Message})
		require.NoError(t, err)
		if i < len(entries)-1 { // the last one may have been under way
			require.Contains(t, found, e.Message)
		}
	}
	original, err := s.Epoch(t.Context())
	require.NoError(t, err)
	epoch, err := restored.Epoch(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, original)
	require.NotEmpty(t, epoch)
}

func TestABackupOverwritesNothingAndLeavesNoHalfOfACopy(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "db"), filepath.Join(dir, "copy")
	open(t, from)
	require.NoError(t, sqlite.Backup(t.Context(), from, to))
	require.ErrorIs(t, sqlite.Backup(t.Context(), from, to), os.ErrExist)
	for _, wrong := range []string{filepath.Join(dir, "nowhere"), filepath.Join(dir, "text"), filepath.Join(dir, "empty")} {
		if filepath.Base(wrong) != "nowhere" {
			require.NoError(t, os.WriteFile(wrong, []byte(map[string]string{"text": "not a database", "empty": ""}[filepath.Base(wrong)]), 0o600))
		}
		other := filepath.Join(dir, "other")
		require.Error(t, sqlite.Backup(t.Context(), wrong, other), wrong)
		require.NoFileExists(t, other)
	}
}

func TestADamagedFileGivesNoBackup(t *testing.T) {
	dir := t.TempDir()
	from := filepath.Join(dir, "db")
	s := open(t, from)
	for position := int64(1); position <= 200; position++ {
		m, e := message(position)
		_, err := s.InsertEntries(t.Context(), []store.Entry{e})
		require.NoError(t, err)
		_, err = s.InsertMessages(t.Context(), []store.Message{m})
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	text, err := os.ReadFile(from)
	require.NoError(t, err)
	for i := 3 * 4096; i < len(text); i++ {
		text[i] ^= 0x55
	}
	require.NoError(t, os.WriteFile(from, text, 0o600))
	require.Error(t, sqlite.Backup(t.Context(), from, filepath.Join(dir, "copy")))
	require.NoFileExists(t, filepath.Join(dir, "copy"))
}

// observations are what an observer was told.
type observations struct {
	mu   sync.Mutex
	told map[string][]bool
}

func (o *observations) observe(_ context.Context, operation string, _ time.Duration, failed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told[operation] = append(o.told[operation], failed)
}

func TestTheObserverIsToldOfEveryOperationAndOfWhatTheFileFailed(t *testing.T) {
	o := &observations{told: map[string][]bool{}}
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db"), sqlite.WithObserver(o.observe))
	require.NoError(t, err)
	m, e := message(1)
	_, err = s.InsertEntries(t.Context(), []store.Entry{e})
	require.NoError(t, err)
	_, err = s.InsertMessages(t.Context(), []store.Message{m})
	require.NoError(t, err)
	_, err = s.Entries(t.Context(), "ann", 0, 10)
	require.NoError(t, err)
	_, err = s.Account(t.Context(), "nobody")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NoError(t, s.Close())
	_, err = s.InsertMessages(t.Context(), []store.Message{m})
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.Equal(t, map[string][]bool{
		"insert_entries": {false}, "insert_messages": {false, true}, "entries": {false}, "account": {false},
	}, o.told, "that nobody is found is no failure")
}
