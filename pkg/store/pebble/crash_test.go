package pebble_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

const folder = "store"

// files returns the files of an in-memory folder, by name.
func files(t testing.TB, fs vfs.FS) map[string][]byte {
	names, err := fs.List(folder)
	require.NoError(t, err)
	all := map[string][]byte{}
	for _, name := range names {
		f, err := fs.Open(fs.PathJoin(folder, name))
		require.NoError(t, err)
		text, err := io.ReadAll(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		all[name] = text
	}
	return all
}

// inMemory returns a file system with the files in the folder.
func inMemory(t testing.TB, files map[string][]byte) vfs.FS {
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll(folder, 0o700))
	for name, text := range files {
		f, err := fs.Create(fs.PathJoin(folder, name), vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		_, err = f.Write(append([]byte(nil), text...))
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	return fs
}

// logOf returns the name of the log that is being written.
func logOf(files map[string][]byte) (last string) {
	for name := range files {
		if strings.HasSuffix(name, ".log") && name > last {
			last = name
		}
	}
	return last
}

// sendOf makes a send to some inboxes, at the same position in each.
func sendOf(position int64, users ...string) store.Send {
	m, e := message(position)
	m.Content = fmt.Sprint("content ", position)
	m.Recipients, m.Positions = users, nil
	one := store.Send{}
	for _, user := range users {
		e.User = user
		one.Entries, m.Positions = append(one.Entries, e), append(m.Positions, position)
	}
	one.Message = m
	return one
}

// putSend writes a send, in one step or in two.
func putSend(t testing.TB, s *pebble.Store, one store.Send, atOnce bool) {
	if atOnce {
		results, err := s.Commit(context.Background(), []store.Send{one})
		require.NoError(t, err)
		require.Equal(t, []store.SendResult{{Written: true}}, results)
		return
	}
	written, err := s.InsertEntries(context.Background(), one.Entries)
	require.NoError(t, err)
	require.Len(t, written, len(one.Entries))
	require.NotContains(t, written, false)
	written, err = s.InsertMessages(context.Background(), []store.Message{one.Message})
	require.NoError(t, err)
	require.Equal(t, []bool{true}, written)
}

// requireWhole requires that a send is there completely or, unless required, that readers do not see it.
func requireWhole(t testing.TB, s *pebble.Store, one store.Send, required bool, explained ...any) {
	t.Helper()
	found, err := s.Messages(context.Background(), []store.MessageID{one.Message.ID})
	require.NoError(t, err, explained...)
	m, there := found[one.Message.ID]
	if !there {
		require.False(t, required, explained...)
		return
	}
	require.Equal(t, one.Message, m, explained...)
	of, err := s.MessagesOf(context.Background(), one.Entries)
	require.NoError(t, err, explained...)
	require.Equal(t, found, of, explained...)
	named, err := s.EntriesAt(context.Background(), m.Places())
	require.NoError(t, err, explained...)
	require.Equal(t, one.Entries, named, explained...)
	for _, want := range one.Entries {
		at, err := s.Entries(context.Background(), want.User, want.Position-1, want.Position)
		require.NoError(t, err, explained...)
		require.Equal(t, []store.Entry{want}, at, explained...)
	}
}

// TestWhatWasAcknowledgedSurvivesACutOfTheLogAtEveryByte: and no send is ever seen in part.
func TestWhatWasAcknowledgedSurvivesACutOfTheLogAtEveryByte(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, folder, pebble.Options{Memory: small.Memory, FS: fs})
	const sends, cut = 12, 2 // one in each of the two ways
	written, ends := make([]store.Send, sends), make([]int, sends)
	for i := range written {
		written[i] = sendOf(int64(i+1), "ann", "bob", "carol")
		putSend(t, s, written[i], i%2 == 0)
		all := files(t, fs)
		ends[i] = len(all[logOf(all)])
	}
	all := files(t, fs)
	last := logOf(all)
	text := all[last]
	require.Greater(t, ends[sends-1], ends[sends-cut-1])
	for at := ends[sends-cut-1]; at <= len(text); at++ {
		all[last] = text[:at]
		s, err := pebble.Open(t.Context(), folder, pebble.Options{Memory: small.Memory, FS: inMemory(t, all)})
		require.NoError(t, err, "cut at %d", at)
		for i, one := range written {
			requireWhole(t, s, one, ends[i] <= at, "send %d of %d, cut at %d", i, sends, at)
		}
		require.NoError(t, s.Close())
	}
}

// durable is what must survive a power failure because somebody was told of it.
type durable struct {
	// pause is locked while nothing may be written.
	pause    sync.RWMutex
	mu       sync.Mutex
	sends    []store.Send
	entries  []store.Entry
	messages []store.MessageID
}

func (d *durable) add(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

// copy returns a snapshot.
func (d *durable) copy() *durable {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &durable{sends: d.sends[:len(d.sends):len(d.sends)], entries: d.entries[:len(d.entries):len(d.entries)], messages: d.messages[:len(d.messages):len(d.messages)]}
}

// anew creates a new log where Pebble would reuse an old one, whose writes errorfs does not see.
type anew struct{ vfs.FS }

func (fs anew) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.Remove(from); err != nil {
		return nil, err
	}
	return fs.Create(to, category)
}

// slowSyncs lengthens the time in which data is written but not on the disk.
func slowSyncs(fs vfs.FS) vfs.FS {
	return anew{errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData {
			<-time.After(time.Millisecond)
		}
		return nil
	}))}
}

// TestWhatAnybodyWasToldOfSurvivesAPowerFailure: at any moment, whether it was acknowledged or read.
func TestWhatAnybodyWasToldOfSurvivesAPowerFailure(t *testing.T) {
	fs := vfs.NewCrashableMem()
	s := open(t, folder, pebble.Options{Memory: 1 << 20, FS: slowSyncs(fs)}) // so little that logs and tables change all the time
	told := &durable{}
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for w := range 4 {
		all.Go(func() { writeAndTell(ctx, t, s, told, w) })
	}
	all.Go(func() { readAndTell(ctx, t, s, told) })
	for round := range 10 {
		before := told.copy()
		sent := func() int { return len(told.copy().sends) - len(before.sends) }
		until(t, func() bool { return sent() >= 20 }, func() string { return fmt.Sprintf("only %d more sends", sent()) })
		before = told.copy()
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 25 * (round % 5), RNG: rand.New(rand.NewPCG(1, uint64(round)))})
		func() {
			told.pause.Lock()
			defer told.pause.Unlock()
			recovered, err := pebble.Open(t.Context(), folder, pebble.Options{Memory: 1 << 20, FS: crashed})
			require.NoError(t, err)
			defer func() { require.NoError(t, recovered.Close()) }()
			requireAll(t, recovered, before)
		}()
	}
}

// writeAndTell writes sends in both ways, and the kinds of entries that readers pass at once.
func writeAndTell(ctx context.Context, t *testing.T, s *pebble.Store, told *durable, w int) {
	user := fmt.Sprint("user", w)
	for position := int64(1); ctx.Err() == nil; position += 4 {
		told.pause.RLock()
		one := sendOf(position, user, user+"-copy")
		one.Message.Content = strings.Repeat("x", 1+rand.N(4000))
		putSend(t, s, one, position%8 == 1)
		if position%16 < 8 {
			one.Message.PurgeAt = one.Message.PurgeAt.Add(time.Hour)
			require.NoError(t, s.Keep(context.Background(), one.Message, one.Message.PurgeAt))
		}
		told.add(func() { told.sends = append(told.sends, one) })

		hole, late := one.Entries[0], one.Entries[0]
		hole.Position, hole.Kind, hole.Message = position+1, store.Hole, store.NewMessageID(time.Now())
		late.User = user + "-late" // its id is decided
		for _, e := range []store.Entry{late, hole} {
			written, err := s.InsertEntries(context.Background(), []store.Entry{e})
			require.NoError(t, err)
			require.Equal(t, []bool{true}, written)
			told.add(func() { told.entries = append(told.entries, e) })
		}

		dead := sendOf(position+2, user)
		_, err := s.InsertEntries(context.Background(), dead.Entries)
		require.NoError(t, err)
		dead.Message.Tombstone = true
		_, err = s.InsertMessages(context.Background(), []store.Message{dead.Message})
		require.NoError(t, err)
		told.add(func() { told.messages = append(told.messages, dead.Message.ID) })
		told.pause.RUnlock()
	}
}

// readAndTell reads what is being written.
func readAndTell(ctx context.Context, t *testing.T, s *pebble.Store, told *durable) {
	after := map[string]int64{}
	for ctx.Err() == nil {
		told.pause.RLock()
		user := fmt.Sprint("user", rand.N(4))
		entries, err := s.Entries(context.Background(), user, max(0, after[user]-8), after[user]+64)
		require.NoError(t, err)
		var ids []store.MessageID
		for _, e := range entries {
			after[user] = max(after[user], e.Position)
			if e.Kind == store.Hole {
				told.add(func() { told.entries = append(told.entries, e) })
			}
			ids = append(ids, e.Message)
		}
		decided, err := s.Decided(context.Background(), ids)
		require.NoError(t, err)
		told.add(func() {
			for id := range decided {
				told.messages = append(told.messages, id)
			}
		})
		told.pause.RUnlock()
	}
}

func requireAll(t *testing.T, s *pebble.Store, told *durable) {
	t.Helper()
	for _, one := range told.sends {
		requireWhole(t, s, one, true)
	}
	for _, want := range told.entries {
		got, err := s.Entries(t.Context(), want.User, want.Position-1, want.Position)
		require.NoError(t, err)
		require.Equal(t, []store.Entry{want}, got)
	}
	decided, err := s.Decided(t.Context(), told.messages)
	require.NoError(t, err)
	for _, id := range told.messages {
		require.Contains(t, decided, id)
	}
}

// TestAStoreThatWasClosedNeedsNoLog: with its log emptied, everything is in the tables, which have checksums.
func TestAStoreThatWasClosedNeedsNoLog(t *testing.T) {
	fs := vfs.NewMem()
	s, err := pebble.Open(t.Context(), folder, pebble.Options{Memory: small.Memory, FS: fs})
	require.NoError(t, err)
	var written []store.Send
	for position := int64(1); position <= 20; position++ {
		written = append(written, sendOf(position, "ann", "bob"))
		putSend(t, s, written[position-1], position%2 == 0)
	}
	require.NoError(t, s.Close())
	left := files(t, fs)
	for name := range left {
		if filepath.Ext(name) == ".log" {
			left[name] = nil
		}
	}
	s = open(t, folder, pebble.Options{Memory: small.Memory, FS: inMemory(t, left)})
	for _, one := range written {
		requireWhole(t, s, one, true)
	}
}
