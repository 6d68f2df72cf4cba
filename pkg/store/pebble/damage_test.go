package pebble_test

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// TestADamagedTableIsNeverServed: with any bit flipped, reads return what was written, or an error that is logged and counted.
func TestADamagedTableIsNeverServed(t *testing.T) {
	fs := vfs.NewMem()
	s, err := pebble.Open(t.Context(), folder, pebble.Options{Memory: small.Memory, FS: fs})
	require.NoError(t, err)
	written := make([]store.Send, 20)
	for i := range written {
		written[i] = sendOf(int64(i+1), "ann", "bob")
		putSend(t, s, written[i], true)
	}
	require.NoError(t, s.Engine().Flush())
	require.NoError(t, s.Close())
	whole := files(t, fs)
	random := rand.New(rand.NewPCG(1, 2))
	tables, found := 0, 0
	for name, text := range whole {
		if filepath.Ext(name) != ".sst" {
			continue
		}
		tables++
		for range 30 {
			damaged := append([]byte(nil), text...)
			damaged[random.IntN(len(text))] ^= 1 << random.IntN(8)
			whole[name] = damaged
			if readsDamaged(t, inMemory(t, whole), written) {
				found++
			}
		}
		whole[name] = text
	}
	require.Greater(t, tables, 3)
	require.Greater(t, found, 5*tables)
}

// readsDamaged reads everything, and reports whether it met a fault.
func readsDamaged(t *testing.T, fs vfs.FS, written []store.Send) bool {
	var failures atomic.Int64
	logged := &bytes.Buffer{}
	s, err := pebble.Open(t.Context(), folder, pebble.Options{
		Memory: small.Memory, FS: fs, Log: slog.New(slog.NewTextHandler(logged, nil)),
		Observe: func(_ context.Context, _ string, _ time.Duration, failed bool) {
			if failed {
				failures.Add(1)
			}
		},
	})
	if err != nil {
		return true
	}
	met := int64(0)
	meets := func(err error) bool {
		if err != nil {
			require.ErrorIs(t, err, store.ErrUnavailable)
			met++
		}
		return err != nil
	}
	var ids []store.MessageID
	want := map[store.MessageID]store.Message{}
	inboxes := make([][]store.Entry, 2)
	for _, one := range written {
		ids = append(ids, one.Message.ID)
		want[one.Message.ID] = one.Message
		for i, e := range one.Entries {
			inboxes[i] = append(inboxes[i], e)
		}
	}
	if found, err := s.Messages(t.Context(), ids); !meets(err) {
		require.Equal(t, want, found)
	}
	for _, inbox := range inboxes {
		if got, err := s.Entries(t.Context(), inbox[0].User, 0, 100); !meets(err) {
			require.Equal(t, inbox, got)
		}
		if found, err := s.MessagesOf(t.Context(), inbox); !meets(err) {
			require.Equal(t, want, found)
		}
		for i, e := range inbox[:2] {
			if got, err := s.EntriesAt(t.Context(), []store.Place{e.Place()}); !meets(err) {
				require.Equal(t, inbox[i:i+1], got)
			}
		}
	}
	require.NoError(t, s.Close())
	require.GreaterOrEqual(t, failures.Load(), met)
	require.True(t, met == 0 || strings.Contains(logged.String(), "store operation failed"))
	return met > 0
}

func TestADamagedStoreGivesNoBackup(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "store"), filepath.Join(dir, "copy")
	s, err := pebble.Open(t.Context(), from, small)
	require.NoError(t, err)
	for position := int64(1); position <= 200; position++ {
		putSend(t, s, sendOf(position, "ann"), true)
	}
	require.NoError(t, s.Engine().Flush())
	require.NoError(t, s.Close())
	tables, err := filepath.Glob(filepath.Join(from, "*.sst"))
	require.NoError(t, err)
	largest, text := "", []byte(nil)
	for _, table := range tables {
		all, err := os.ReadFile(table)
		require.NoError(t, err)
		if len(all) > len(text) {
			largest, text = table, all
		}
	}
	text[len(text)/3] ^= 4
	require.NoError(t, os.WriteFile(largest, text, 0o600))
	s = open(t, from, small)
	require.ErrorIs(t, s.Backup(t.Context(), to), pebble.ErrDamaged)
	require.NoDirExists(t, to)
}
