package pebble_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/logging/logtest"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

func TestAStoreOfAnotherVersionIsRefused(t *testing.T) {
	for schema, want := range map[byte]error{1: pebble.ErrForeign, 2: nil, 3: pebble.ErrNewerSchema} {
		fs := vfs.NewMem()
		s, err := pebble.Open(t.Context(), folder, pebble.Options{FS: fs})
		require.NoError(t, err)
		require.NoError(t, s.Engine().Set([]byte{1}, []byte{schema}, engine.Sync))
		require.NoError(t, s.Close())
		s, err = pebble.Open(t.Context(), folder, pebble.Options{FS: fs})
		require.ErrorIs(t, err, want, "schema %d", schema)
		if want == nil {
			require.NoError(t, s.Close())
		} else {
			require.ErrorContains(t, err, fmt.Sprint("schema ", schema))
		}
	}
}

// quiet discards Pebble's log.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

func TestWhatIsNoStoreIsNotOpened(t *testing.T) {
	dir := t.TempDir()
	other, err := engine.Open(filepath.Join(dir, "other"), &engine.Options{Logger: quiet{}})
	require.NoError(t, err)
	require.NoError(t, other.Set([]byte("a"), nil, engine.Sync))
	require.NoError(t, other.Close())
	path := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(path, []byte("text"), 0o600))
	for _, wrong := range []string{"other", "file", "file/below"} {
		_, err := pebble.Open(t.Context(), filepath.Join(dir, wrong), small)
		require.Error(t, err, wrong)
	}
}

// TestADiskThatIsNearlyFullIsNotFilled: writes are refused, but reads and Purge work. Writes work again when there is space.
func TestADiskThatIsNearlyFullIsNotFilled(t *testing.T) {
	fs := vfs.NewMem()
	logged := &logtest.Journal{}
	s := open(t, folder, pebble.Options{Memory: small.Memory, FS: fs, MinFree: 1000, Log: slog.New(slog.NewTextHandler(logged, nil))})
	m, e := message(1)
	put(t, s, m, e)
	require.NoError(t, s.CreateAccount(t.Context(), store.Account{Username: "ann", PasswordHash: "hash"}))
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 999, TotalBytes: 10_000})
	commits := func(position int64) error {
		_, err := s.Commit(t.Context(), []store.Send{sendOf(position, "bob")})
		return err
	}
	position := int64(0)
	refused := func() bool {
		position++
		return commits(position) != nil
	}
	require.Eventually(t, refused, time.Minute, time.Millisecond)
	require.ErrorIs(t, commits(1<<20), store.ErrUnavailable)
	require.ErrorIs(t, s.RecordLogin(t.Context(), "bob", store.Login{At: time.Now()}), store.ErrUnavailable)
	generation, err := s.RaiseGeneration(t.Context(), "ann")
	require.NoError(t, err, "whoever has stolen a token is shut out, now as ever")
	require.EqualValues(t, 1, generation)
	found, err := s.Entries(t.Context(), "ann", 0, 10)
	require.NoError(t, err)
	require.Len(t, found, 1)
	_, err = s.InsertEntries(t.Context(), []store.Entry{{User: "ann", Position: 3, Kind: store.Hole, PurgeAt: time.Now()}})
	require.NoError(t, err, "a reader passes a position that a send has lost")
	_, err = s.InsertEntries(t.Context(), []store.Entry{{User: "ann", Position: 4, Kind: store.Hole}, {User: "ann", Position: 5, Kind: store.Received}})
	require.ErrorIs(t, err, store.ErrUnavailable)
	removed, err := s.Purge(t.Context(), time.Now().Add(48*time.Hour))
	require.NoError(t, err)
	require.Positive(t, removed)
	fs.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1125, TotalBytes: 10_000})
	require.Eventually(t, func() bool { return !refused() }, time.Minute, time.Millisecond)
	require.Equal(t, 1, strings.Count(logged.String(), "nearly full"))
	require.Equal(t, 1, strings.Count(logged.String(), "the disk has room again"))
}

// TestAPurgeGivesTheSpaceBack: of entries, of messages, and of contents that are erased while their messages are kept.
func TestAPurgeGivesTheSpaceBack(t *testing.T) {
	now := time.Now().UTC().Truncate(time.Millisecond)
	for name, c := range map[string]struct {
		prepare func(one *store.Send)
		left    float64
	}{
		"all that is old": {func(one *store.Send) {
			one.Message.ExpiresAt, one.Message.PurgeAt, one.Entries[0].PurgeAt = now.Add(time.Minute), now.Add(time.Minute), now.Add(time.Minute)
		}, 0.25},
		"contents": {func(one *store.Send) {
			one.Message.ExpiresAt, one.Message.PurgeAt, one.Entries[0].PurgeAt = now.Add(time.Minute), now.Add(3*time.Hour), now.Add(3*time.Hour)
		}, 0.6},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "store"), small)
			text := ciphertext(1 << 20)
			const sends, batch = 20_000, 500
			for position := int64(1); position <= sends; position += batch {
				list := make([]store.Send, batch)
				for i := range list {
					list[i] = sendOf(position+int64(i), fmt.Sprint("user", i%50))
					list[i].Message.Content = text[rand.N(len(text)-contentLen):][:contentLen]
					list[i].Entries[0].WrappedKey = text[rand.N(len(text)-keyLen):][:keyLen]
					c.prepare(&list[i])
				}
				_, err := s.Commit(t.Context(), list)
				require.NoError(t, err)
			}
			require.NoError(t, s.Engine().Flush())
			before := s.Engine().Metrics().DiskSpaceUsage()
			ctx, cancel := context.WithCancel(t.Context())
			var others sync.WaitGroup
			others.Go(func() { // a concurrent writer does not wait for the purge
				for position := int64(1); ctx.Err() == nil && position <= 500; position++ {
					m, e := message(position)
					put(t, s, m, e)
				}
			})
			removed, err := s.Purge(t.Context(), now.Add(2*time.Minute))
			cancel()
			others.Wait()
			require.NoError(t, err)
			if name == "contents" {
				require.Zero(t, removed)
			} else {
				require.EqualValues(t, 2*sends, removed)
			}
			left, next := func() float64 { return float64(s.Engine().Metrics().DiskSpaceUsage()) / float64(before) }, int64(sends)
			until(t, func() bool {
				// Pebble looks for tables to merge or to drop when others are written: without writes it may not look again.
				next++
				putSend(t, s, sendOf(next, "user0", "user9"), true) // the first and the last inbox
				require.NoError(t, s.Engine().Flush())
				return left() < c.left
			}, func() string { return fmt.Sprintf("%v of %d bytes are left", left(), before) })
		})
	}
}

// until waits until done says so, as long as the test may last: what it waits for takes many seconds on a busy machine.
func until(t *testing.T, done func() bool, state func() string) {
	t.Helper()
	end, limited := t.Deadline()
	for !done() {
		if limited && time.Until(end) < 10*time.Second {
			t.Fatal(state())
		}
		<-time.After(time.Millisecond)
	}
}

// TestAPurgeOfAllLeavesNothingButTails: entries and messages leave no rows behind, whatever was done to them.
func TestAPurgeOfAllLeavesNothingButTails(t *testing.T) {
	s := open(t, folder, pebble.Options{Memory: small.Memory, FS: vfs.NewMem()})
	tables := func() map[byte]int {
		rows, err := s.Engine().NewIter(nil)
		require.NoError(t, err)
		defer func() { require.NoError(t, rows.Close()) }()
		found := map[byte]int{}
		for ok := rows.First(); ok; ok = rows.Next() {
			found[rows.Key()[0]]++
		}
		return found
	}
	sent, prepared := sendOf(1, "ann", "bob"), sendOf(2, "ann", "bob")
	sent.Message.PurgeAt = sent.Message.ExpiresAt.Add(time.Hour)
	putSend(t, s, sent, true)
	_, err := s.InsertEntries(t.Context(), prepared.Entries)
	require.NoError(t, err)
	require.NoError(t, s.MarkRead(t.Context(), sent.Entries[0].Place(), time.Now()))
	kept := sent.Message.PurgeAt
	for range 3 {
		kept = kept.Add(time.Hour)
		require.NoError(t, s.Keep(t.Context(), sent.Message, kept))
		of, err := s.MessagesOf(t.Context(), sent.Entries)
		require.NoError(t, err)
		sent.Message.PurgeAt = kept
		require.Equal(t, map[store.MessageID]store.Message{sent.Message.ID: sent.Message}, of)
	}
	whole := tables()
	require.LessOrEqual(t, whole['p'], 2*2, "one an inbox and a day")
	delete(whole, 'p')
	require.Equal(t, map[byte]int{1: 1, 'e': 4, 'm': 1, 'M': 1, 'c': 1}, whole)
	_, err = s.Purge(t.Context(), kept.Add(-time.Minute))
	require.NoError(t, err)
	require.Equal(t, map[byte]int{1: 1, 'm': 1, 'M': 1, 't': 2}, tables(), "the id is kept without its content")
	require.NoError(t, s.Keep(t.Context(), sent.Message, kept.Add(time.Hour)))
	require.Equal(t, map[byte]int{1: 1, 'm': 1, 'M': 1, 't': 2}, tables(), "nor does it come back")
	_, err = s.Purge(t.Context(), kept.Add(2*time.Hour))
	require.NoError(t, err)
	require.Equal(t, map[byte]int{1: 1, 't': 2}, tables())
}

func TestOfManyWhoKeepAMessageTheOneWhoNeedsItLongestIsHeeded(t *testing.T) {
	s := open(t, folder, pebble.Options{Memory: small.Memory, FS: vfs.NewMem()})
	const many = 32
	for position := range int64(20) {
		one := sendOf(position+1, "ann")
		putSend(t, s, one, true)
		var all sync.WaitGroup
		for i := range many {
			all.Go(func() {
				if err := s.Keep(t.Context(), one.Message, one.Message.PurgeAt.Add(time.Duration(1+i*7%many)*time.Minute)); err != nil {
					t.Errorf("%v", err)
				}
			})
		}
		all.Wait()
		decided, err := s.Decided(t.Context(), []store.MessageID{one.Message.ID})
		require.NoError(t, err)
		require.Equal(t, one.Message.PurgeAt.Add(many*time.Minute), decided[one.Message.ID])
	}
}

// ending is a context that ends after it was checked a number of times: it can end between any two steps of a call.
type ending struct {
	context.Context
	looks atomic.Int64
	done  chan struct{}
	once  sync.Once
}

func endAfter(ctx context.Context, looks int64) *ending {
	e := &ending{Context: ctx, done: make(chan struct{})}
	e.looks.Store(looks)
	return e
}

func (e *ending) look() {
	if e.looks.Add(-1) < 0 {
		e.once.Do(func() { close(e.done) })
	}
}

func (e *ending) Done() <-chan struct{} {
	e.look()
	return e.done
}

func (e *ending) Err() error {
	e.look()
	select {
	case <-e.done:
		return context.Canceled
	default:
		return nil
	}
}

func (*ending) Deadline() (time.Time, bool) { return time.Time{}, false }

// TestACallThatIsGivenUpTellsNothingAndAnError: at any moment, and it never returns a partial answer that looks complete.
func TestACallThatIsGivenUpTellsNothingAndAnError(t *testing.T) {
	s := open(t, folder, pebble.Options{Memory: small.Memory, FS: vfs.NewMem()})
	const n = 200
	var ids []store.MessageID
	var entries []store.Entry
	var places []store.Place
	for position := range int64(n) {
		one := sendOf(position+1, "bob")
		one.Entries[0].ReadAt = time.Now()
		putSend(t, s, one, true)
		ids, entries = append(ids, one.Message.ID), append(entries, one.Entries[0])
		places = append(places, one.Entries[0].Place())
		require.NoError(t, s.CreateAccount(t.Context(), store.Account{Username: fmt.Sprint("user", position), Key: store.Key{Version: 1}}))
	}
	reads := map[string]func(ctx *ending) (any, error){
		"Decided":     func(ctx *ending) (any, error) { return s.Decided(ctx, ids) },
		"Messages":    func(ctx *ending) (any, error) { return s.Messages(ctx, ids) },
		"MessagesOf":  func(ctx *ending) (any, error) { return s.MessagesOf(ctx, entries) },
		"Entries":     func(ctx *ending) (any, error) { return s.Entries(ctx, "bob", 0, n) },
		"EntriesAt":   func(ctx *ending) (any, error) { return s.EntriesAt(ctx, places) },
		"Receipts":    func(ctx *ending) (any, error) { return s.Receipts(ctx, places) },
		"Tails":       func(ctx *ending) (any, error) { return s.Tails(ctx, []string{"bob", "carol"}) },
		"ListKeys":    func(ctx *ending) (any, error) { return s.ListKeys(ctx, "", n) },
		"KeyVersions": func(ctx *ending) (any, error) { return s.KeyVersions(ctx, []string{"user1"}) },
		"KeyHistory": func(ctx *ending) (any, error) {
			_, keys, err := s.KeyHistory(ctx, "user1", 0, n)
			return keys, err
		},
		"Commit": func(ctx *ending) (any, error) {
			results, err := s.Commit(ctx, []store.Send{{Message: store.Message{ID: ids[0]}}})
			return results, err
		},
	}
	for name, read := range reads {
		whole, err := read(endAfter(t.Context(), 1<<40))
		require.NoError(t, err)
		given := false
		for looks := range int64(20) {
			got, err := read(endAfter(t.Context(), looks))
			if err != nil {
				given = true
				require.ErrorIs(t, err, store.ErrUnavailable)
				require.Zero(t, reflect.ValueOf(got).Len(), "%s given up after %d looks", name, looks)
				continue
			}
			require.Equal(t, whole, got, "%s not given up after %d looks", name, looks)
		}
		require.True(t, given, name)
	}
}

func TestWhoGivesAWriteUpDisturbsNobodyElse(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "store"), small)
	require.NoError(t, s.CreateAccount(t.Context(), store.Account{Username: "bob", Key: store.Key{Version: 1}}))
	for i := range int64(500) {
		ctx, cancel := context.WithTimeout(t.Context(), rand.N(400*time.Microsecond))
		_ = s.RecordLogin(ctx, "bob", store.Login{At: time.Now()}) // it may be in time or not
		cancel()
		now := time.Now()
		_, err := s.InsertEntries(t.Context(), []store.Entry{{User: "bob", Position: i + 1, Kind: store.Received, Message: store.NewMessageID(now)}})
		require.NoError(t, err)
	}
}

func TestTheObserverIsToldOfEveryOperationAndOfWhatTheStoreFailed(t *testing.T) {
	var mu sync.Mutex
	told := map[string][]bool{}
	s, err := pebble.Open(t.Context(), folder, pebble.Options{FS: vfs.NewMem(), Observe: func(_ context.Context, operation string, _ time.Duration, failed bool) {
		mu.Lock()
		defer mu.Unlock()
		told[operation] = append(told[operation], failed)
	}})
	require.NoError(t, err)
	m, e := message(1)
	put(t, s, m, e)
	_, err = s.Commit(t.Context(), []store.Send{sendOf(2, "bob")})
	require.NoError(t, err)
	_, err = s.Entries(t.Context(), "ann", 0, 10)
	require.NoError(t, err)
	_, err = s.Account(t.Context(), "nobody")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NoError(t, s.Close())
	_, err = s.InsertMessages(t.Context(), []store.Message{m})
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.Equal(t, map[string][]bool{
		"insert_entries": {false}, "insert_messages": {false, true}, "commit": {false}, "entries": {false}, "account": {false},
	}, told, "that nobody is found is no failure")
}

func TestANameThatWouldEndAnotherKeyIsRefused(t *testing.T) {
	s := open(t, folder, pebble.Options{Memory: small.Memory, FS: vfs.NewMem()})
	m, e := message(1)
	e.User = "ann\x00\x00"
	_, err := s.InsertEntries(t.Context(), []store.Entry{e})
	require.Error(t, err)
	_, err = s.Commit(t.Context(), []store.Send{{Message: m, Entries: []store.Entry{e}}})
	require.Error(t, err)
	require.Error(t, s.CreateAccount(t.Context(), store.Account{Username: "a\x00"}))
	require.Error(t, s.OpenSession(t.Context(), "a\x00", "s", time.Now()))
	decided, err := s.Decided(t.Context(), []store.MessageID{m.ID})
	require.NoError(t, err)
	require.Empty(t, decided)
}
