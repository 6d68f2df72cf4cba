// Package faults tests stores whose disk fails. Such a store keeps its goroutines until its process ends, so these tests have their own
// package.
package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/logging/logtest"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

const folder = "store"

// patience bounds calls whose result does not depend on time.
const patience = time.Minute

// anew creates a new log where Pebble would reuse an old one, whose writes errorfs does not see.
type anew struct{ vfs.FS }

func (fs anew) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.Remove(from); err != nil {
		return nil, err
	}
	return fs.Create(to, category)
}

func send(user string, position int64) store.Send {
	now := time.Now().UTC().Truncate(time.Millisecond)
	m := store.Message{
		ID: store.NewMessageID(now), Sender: "Ann-" + user, Recipients: []string{user}, Positions: []int64{position, position}, Content: strings.Repeat("x", 1+rand.N(4000)), CreatedAt: now,
		ExpiresAt: now.Add(time.Hour), PurgeAt: now.Add(time.Hour),
	}
	one := store.Send{Message: m}
	for _, u := range []string{user, "ann-" + user} {
		one.Entries = append(one.Entries, store.Entry{
			User: u, Position: position, Kind: store.Received, Message: m.ID, At: now, ExpiresAt: m.ExpiresAt, PurgeAt: m.ExpiresAt,
		})
	}
	return one
}

// put writes a send in one of the two ways.
func put(s *pebble.Store, one store.Send, atOnce bool) error {
	if atOnce {
		_, err := s.Commit(context.Background(), []store.Send{one})
		return err
	}
	if _, err := s.InsertEntries(context.Background(), one.Entries); err != nil {
		return err
	}
	_, err := s.InsertMessages(context.Background(), []store.Message{one.Message})
	return err
}

// TestAStoreWhoseDiskFailsAcknowledgesNothingMoreAndLosesNothing: wherever the disk is full or fails a sync, every call fails from then on,
// and the next process finds everything that was acknowledged.
func TestAStoreWhoseDiskFailsAcknowledgesNothingMoreAndLosesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		op   func(op errorfs.Op) bool
		with error
	}{
		"a write of the log":            {on(".log", errorfs.OpFileWrite), syscall.ENOSPC},
		"a sync of the log":             {on(".log", errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo), syscall.EIO},
		"a new log":                     {on(".log", errorfs.OpCreate, errorfs.OpReuseForWrite), syscall.ENOSPC},
		"a write of the list of tables": {manifest(errorfs.OpFileWrite), syscall.ENOSPC},
		"a sync of the list of tables":  {manifest(errorfs.OpFileSync, errorfs.OpFileSyncData), syscall.EIO},
		"a name of a log":               {func(op errorfs.Op) bool { return filepath.Base(op.Path) == folder && op.Kind == errorfs.OpFileSync }, syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failDuring(t, func(op errorfs.Op) error {
				if c.op(op) {
					return c.with
				}
				return nil
			})
		})
	}
}

func on(ext string, kinds ...errorfs.OpKind) func(op errorfs.Op) bool {
	return func(op errorfs.Op) bool { return filepath.Ext(op.Path) == ext && is(op, kinds) }
}

func manifest(kinds ...errorfs.OpKind) func(op errorfs.Op) bool {
	return func(op errorfs.Op) bool {
		return strings.HasPrefix(filepath.Base(op.Path), "MANIFEST") && is(op, kinds)
	}
}

func is(op errorfs.Op, kinds []errorfs.OpKind) bool {
	for _, kind := range kinds {
		if op.Kind == kind {
			return true
		}
	}
	return false
}

func failDuring(t *testing.T, fault func(op errorfs.Op) error) {
	fs := vfs.NewCrashableMem()
	var broken atomic.Bool
	logged := &logtest.Journal{}
	s, err := pebble.Open(t.Context(), folder, pebble.Options{
		Memory: 1 << 20, Log: slog.New(slog.NewTextHandler(logged, nil)),
		FS: anew{errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if !broken.Load() {
				return nil
			}
			return fault(op)
		}))},
	})
	require.NoError(t, err)

	var mu sync.Mutex
	var acknowledged, doubtful []store.Send
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for position := int64(1); ; position++ {
				one := send(fmt.Sprint("user", w), position)
				err := put(s, one, position%2 == 0)
				mu.Lock()
				if err != nil {
					doubtful = append(doubtful, one)
				} else {
					acknowledged = append(acknowledged, one)
				}
				if len(acknowledged) == 200 {
					broken.Store(true)
				}
				mu.Unlock()
				if err != nil {
					if !errors.Is(err, store.ErrUnavailable) {
						t.Errorf("%v", err)
					}
					return
				}
			}
		})
	}
	requireSoon(t, writers.Wait, "a writer waits for ever")
	select {
	case <-s.Failed():
	default:
		t.Fatal("a write failed and the store has not")
	}
	require.ErrorIs(t, s.Err(), store.ErrUnavailable)
	require.Contains(t, logged.String(), "the store has failed")
	broken.Store(false) // the store must not recover, even if the disk does
	requireFailed(t, s)
	requireSoon(t, func() {
		if s.Close() == nil {
			t.Error("a store that has failed closes as though nothing were")
		}
	}, "Close waits for ever")

	for _, percent := range []int{0, 50, 100} {
		left := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rand.New(rand.NewPCG(3, 4))})
		s, err := pebble.Open(t.Context(), folder, pebble.Options{Memory: 1 << 20, FS: left})
		require.NoError(t, err)
		for _, one := range acknowledged {
			require.True(t, whole(t, s, one), "what was acknowledged")
		}
		for _, one := range doubtful {
			whole(t, s, one)
		}
		require.NoError(t, s.Close())
	}
}

// TestAStoreThatCannotWriteTablesWaits: writes wait until tables can be written; the log keeps the data, and reads go on.
func TestAStoreThatCannotWriteTablesWaits(t *testing.T) {
	for name, broken := range map[string]func(op errorfs.Op) bool{
		"a new table":        on(".sst", errorfs.OpCreate),
		"a write of a table": on(".sst", errorfs.OpFileWrite),
		"a sync of a table":  on(".sst", errorfs.OpFileSync, errorfs.OpFileSyncData),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var fault atomic.Bool
			logged := &logtest.Journal{}
			var failures atomic.Int64
			s, err := pebble.Open(t.Context(), folder, pebble.Options{
				Memory: 1 << 20, Log: slog.New(slog.NewTextHandler(logged, nil)),
				FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
					if fault.Load() && broken(op) {
						return syscall.ENOSPC
					}
					return nil
				})),
				Observe: func(_ context.Context, operation string, _ time.Duration, failed bool) {
					if operation == "background" && failed {
						failures.Add(1)
					}
				},
			})
			require.NoError(t, err)
			first := send("bob", 1)
			require.NoError(t, put(s, first, true))
			fault.Store(true)
			const sends = 1000
			var sent []store.Send
			done := make(chan struct{})
			go func() {
				defer close(done)
				for position := int64(2); position < sends; position++ {
					one := send("bob", position)
					if err := put(s, one, true); err != nil {
						t.Errorf("%v", err)
						return
					}
					sent = append(sent, one)
				}
			}()
			require.Eventually(t, func() bool { return strings.Contains(logged.String(), "writes wait") }, patience, time.Millisecond)
			require.True(t, whole(t, s, first))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			_, err = s.Commit(ctx, []store.Send{send("carol", 1)})
			require.ErrorIs(t, err, store.ErrUnavailable, "who comes meanwhile gives up in time")
			fault.Store(false)
			requireSoon(t, func() { <-done }, "writes wait for ever")
			require.Positive(t, failures.Load())
			for _, one := range sent {
				require.True(t, whole(t, s, one))
			}
			require.NoError(t, s.Close())
		})
	}
}

// filled returns a store's files, with something in its log, whose disk has no room for tables until free is set.
func filled(t *testing.T) (fs vfs.FS, one store.Send, free *atomic.Bool) {
	t.Helper()
	disk := vfs.NewCrashableMem()
	s, err := pebble.Open(t.Context(), folder, pebble.Options{Memory: 1 << 20, FS: disk})
	require.NoError(t, err)
	one = send("bob", 1)
	require.NoError(t, put(s, one, true))
	left := disk.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, s.Close())
	left.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1, TotalBytes: 10_000})
	free = &atomic.Bool{}
	return errorfs.Wrap(left, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if !free.Load() && on(".sst", errorfs.OpCreate)(op) {
			return syscall.ENOSPC
		}
		return nil
	})), one, free
}

// TestAStoreThatOpensOnAFullDiskWaitsForRoom: it says so in the log, and its caller can give up.
func TestAStoreThatOpensOnAFullDiskWaitsForRoom(t *testing.T) {
	t.Parallel()
	fs, one, free := filled(t)
	logged := &logtest.Journal{}
	options := pebble.Options{Memory: 1 << 20, FS: fs, Log: slog.New(slog.NewTextHandler(logged, nil))}
	ctx, giveUp := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := pebble.Open(ctx, folder, options)
		failed <- err
	}()
	said := func() bool { return strings.Contains(logged.String(), "no space left") }
	require.Eventually(t, said, patience, time.Millisecond)
	require.Contains(t, logged.String(), "the disk is nearly full")
	giveUp()
	requireSoon(t, func() {
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	}, "who gives up waits for ever")

	free.Store(true) // the first call lets the folder go once it has opened it
	var s *pebble.Store
	require.Eventually(t, func() (ok bool) {
		var err error
		s, err = pebble.Open(t.Context(), folder, options)
		return err == nil
	}, patience, 10*time.Millisecond)
	require.True(t, whole(t, s, one), "what was acknowledged")
	require.NoError(t, s.Close())
}

// TestAStoreWhoseLogFailsWhileItOpensIsNotWaitedFor: Pebble blocks where it would go on.
func TestAStoreWhoseLogFailsWhileItOpensIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(op errorfs.Op) bool{
		"a new log":            on(".log", errorfs.OpCreate, errorfs.OpReuseForWrite),
		"the name of a log":    func(op errorfs.Op) bool { return filepath.Base(op.Path) == folder && op.Kind == errorfs.OpFileSync },
		"a new list of tables": manifest(errorfs.OpCreate),
		"the list of tables":   manifest(errorfs.OpFileWrite),
	} {
		t.Run(name, func(t *testing.T) {
			requireSoon(t, func() {
				_, err := pebble.Open(t.Context(), folder, pebble.Options{
					Memory: 1 << 20, FS: errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
						if broken(op) {
							return syscall.ENOSPC
						}
						return nil
					})),
				})
				if err == nil || !errors.Is(err, syscall.ENOSPC) && !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
					t.Errorf("%v", err)
				}
			}, "Open waits for ever")
		})
	}
}

// requireSoon requires that f returns.
func requireSoon(t *testing.T, f func(), otherwise string) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal(otherwise)
	}
}

// requireFailed requires that every kind of call fails promptly.
func requireFailed(t *testing.T, s *pebble.Store) {
	t.Helper()
	ctx := context.Background()
	one := send("bob", 1)
	id := []store.MessageID{one.Message.ID}
	calls := []func() error{
		func() error { return s.Ping(ctx) },
		func() error { return s.CreateAccount(ctx, store.Account{Username: "bob"}) },
		func() error { _, err := s.Account(ctx, "bob"); return err },
		func() error { _, err := s.InsertEntries(ctx, one.Entries); return err },
		func() error { _, err := s.InsertMessages(ctx, []store.Message{one.Message}); return err },
		func() error { _, err := s.Commit(ctx, []store.Send{one}); return err },
		func() error { _, err := s.Entries(ctx, "user1", 0, 10); return err },
		func() error { _, err := s.Decided(ctx, id); return err },
		func() error { _, err := s.Messages(ctx, id); return err },
		func() error { return s.Keep(ctx, one.Message, time.Now()) },
		func() error { _, err := s.EntriesAt(ctx, one.Message.Places()); return err },
		func() error { return s.MarkRead(ctx, one.Entries[0].Place(), time.Now()) },
		func() error { _, err := s.Receipts(ctx, one.Message.Places()); return err },
		func() error { _, err := s.Tails(ctx, []string{"bob"}); return err },
		func() error { _, err := s.Purge(ctx, time.Now().Add(24*time.Hour)); return err },
		func() error { _, err := s.Epoch(ctx); return err },
		func() error { return s.Backup(ctx, "copy") },
		func() error { return s.Revocations().Append(ctx, revocation.Record{TokenID: "x"}) },
	}
	for i, call := range calls {
		requireSoon(t, func() {
			if err := call(); err == nil || !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("call %d: %v", i, err)
			}
		}, fmt.Sprintf("call %d waits for ever", i))
	}
}

// whole reports whether a send is there, and requires that it then is complete.
func whole(t *testing.T, s *pebble.Store, one store.Send) bool {
	t.Helper()
	found, err := s.Messages(t.Context(), []store.MessageID{one.Message.ID})
	require.NoError(t, err)
	m, there := found[one.Message.ID]
	if !there {
		return false
	}
	require.Equal(t, one.Message, m)
	got, err := s.EntriesAt(t.Context(), m.Places())
	require.NoError(t, err)
	require.Equal(t, one.Entries, got)
	return true
}
