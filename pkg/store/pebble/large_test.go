//go:build unix

package pebble

import (
	"cmp"
	crand "crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/store"
)

// What is the same in stores of all sizes.
const (
	// rounds is the number of entries per inbox. In each round every inbox gets one, in another order.
	rounds = 100
	// retention is the time over which the messages are spread, and how long each is kept.
	retention = 90 * 24 * time.Hour
	// gone is how many entries retention has removed from each inbox before.
	gone = 10
	// page is how many entries a read asks for.
	page = 50
	// dueAtOnce is how many messages one measured purge finds due. Each has two entries.
	dueAtOnce = 500

	largeContent, largeKey = 400, 344
	largeUser              = "large"
)

// oldest is when the first message was sent: at noon, so that on some day only a part is due.
var oldest = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// shape defines the entries of a store. All are computed, so that each table can be written in key order: a round is a row of slots, two
// per message, the recipient's and the sender's. The first of every stride slots belongs to the large inbox.
type shape struct {
	entries, inboxes, stride, slots int
	step, back                      int
}

func shapeOf(entries int) shape {
	s := shape{entries: entries, stride: min(100, entries/rounds), slots: entries / rounds}
	s.inboxes = s.slots - s.slots/s.stride
	s.step, s.back = scatter(s.inboxes)
	return s
}

// scatter returns a factor that permutes the numbers below n, and its inverse.
func scatter(n int) (step, back int) {
	for step = max(1, n*618/1000); ; step++ {
		if inverse := new(big.Int).ModInverse(big.NewInt(int64(step)), big.NewInt(int64(n))); inverse != nil {
			return step, int(inverse.Int64())
		}
	}
}

func (s shape) messages() int { return s.entries / 2 }

// large returns the number of entries of the large inbox.
func (s shape) large() int { return s.entries / s.stride }

func userName(inbox int) string { return fmt.Sprintf("user%07d", inbox) }

// place returns the place of a slot's entry.
func (s shape) place(round, slot int) store.Place {
	if slot%s.stride == 0 {
		return store.Place{User: largeUser, Position: int64(gone + round*(s.slots/s.stride) + slot/s.stride + 1)}
	}
	n := slot - slot/s.stride - 1
	return store.Place{User: userName((n*s.step + round*7919) % s.inboxes), Position: int64(gone + round + 1)}
}

// slot returns the slot of an inbox in a round.
func (s shape) slot(round, inbox int) int {
	n := (inbox + s.inboxes - round*7919%s.inboxes) % s.inboxes * s.back % s.inboxes
	return n/(s.stride-1)*s.stride + 1 + n%(s.stride-1)
}

// slotOfLarge returns the slot of a position of the large inbox.
func (s shape) slotOfLarge(position int) (round, slot int) {
	each := s.slots / s.stride
	return (position - gone - 1) / each, (position - gone - 1) % each * s.stride
}

// number returns the number of a slot's message. Messages are numbered in order of time.
func (s shape) number(round, slot int) int { return round*s.slots/2 + slot/2 }

func (s shape) at(number int) time.Time {
	return oldest.Add((retention / time.Duration(s.messages())).Truncate(time.Millisecond) * time.Duration(number))
}

// dueAt returns when the first so many messages are due.
func (s shape) dueAt(messages int) time.Time { return s.at(messages - 1).Add(retention) }

// layer is one level of the LSM tree, as a range of rounds: newer rounds are in higher levels.
type layer struct{ from, to int }

// layers returns the levels of a grown tree: each has ten times as much as the one above. Small stores have one level.
func (s shape) layers() []layer {
	if s.entries < 1_000_000 {
		return []layer{{0, rounds}}
	}
	return []layer{{0, 89}, {89, 99}, {99, rounds}}
}

// ids numbers the messages of a layer so that their ids are scattered over the id space but can be generated in order.
type ids struct {
	first, n, step, back int
	low                  uint32
}

func (s shape) ids(l layer) ids {
	i := ids{first: s.number(l.from, 0), n: s.number(l.to-l.from, 0), low: uint32(l.from)}
	i.step, i.back = scatter(i.n)
	return i
}

func (i ids) id(number int) (id store.MessageID) {
	rank := uint64((number - i.first) * i.step % i.n)
	binary.BigEndian.PutUint64(id[:], rank*(1<<63/uint64(i.n)*2))
	binary.BigEndian.PutUint32(id[8:], i.low)
	return id
}

// ranked returns the number of the message whose id has the given rank in the layer.
func (i ids) ranked(rank int) int { return i.first + rank*i.back%i.n }

// filler writes tables like those of a store after as many sends.
type filler struct {
	shape
	folder string
	fs     vfs.FS
	w      sstable.WriterOptions
	text   string

	mu    sync.Mutex
	paths []string
}

// unsynced skips syncs while a store for a measurement is made.
type unsynced struct{ vfs.File }

func (unsynced) Sync() error                { return nil }
func (unsynced) SyncData() error            { return nil }
func (unsynced) SyncTo(int64) (bool, error) { return true, nil }

// table writes one file.
func (f *filler) table(write func(w *sstable.Writer) error) error {
	f.mu.Lock()
	path := filepath.Join(f.folder, fmt.Sprint("filled", len(f.paths)))
	f.paths = append(f.paths, path)
	f.mu.Unlock()
	file, err := f.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(unsynced{file}), f.w)
	if err := write(w); err != nil {
		return err
	}
	return w.Close()
}

// cut returns an incompressible text, a different one for each number.
func (f *filler) cut(number, length int) string {
	from := number * 52 % (len(f.text) - length)
	return f.text[from&^3:][:length]
}

func (f *filler) message(i ids, number int) store.Message {
	round, slot := number/(f.slots/2), number%(f.slots/2)*2
	to, from := f.place(round, slot), f.place(round, slot+1)
	at := f.at(number)
	m := store.Message{
		ID: i.id(number), Sender: strings.ToUpper(from.User[:1]) + from.User[1:], SenderKeyVersion: 1, Recipients: []string{to.User},
		Positions: []int64{to.Position, from.Position}, Content: f.cut(number, largeContent), IV: "0123456789abcdef",
		ClientMessageID: "a8098c1a-f86e-11da-bd1a-00112444be1e", CreatedAt: at, ExpiresAt: at.Add(retention), PurgeAt: at.Add(retention),
	}
	copy(m.Digest[:], f.cut(number, len(m.Digest)))
	return m
}

func (f *filler) entry(i ids, round, slot int) store.Entry {
	number := f.number(round, slot)
	at := f.at(number)
	e := store.Entry{
		Kind: store.Sent, Message: i.id(number), Size: largeContent, KeyVersion: 1, At: at, ExpiresAt: at.Add(retention), PurgeAt: at.Add(retention),
	}
	if slot%2 == 0 {
		e.Kind, e.WrappedKey = store.Received, f.cut(number+7, largeKey)
	}
	place := f.place(round, slot)
	e.User, e.Position = place.User, place.Position
	return e
}

// fill fills a store level by level, lowest first.
func (f *filler) fill(b *testing.B, s *Store) {
	for _, l := range f.layers() {
		f.paths = nil
		var tables errgroup.Group
		tables.SetLimit(runtime.GOMAXPROCS(0))
		in := f.ids(l)
		f.fillEntries(&tables, in, l)
		f.fillMessages(&tables, in)
		f.fillContents(&tables, in)
		f.fillPurges(&tables, in)
		if l.from == 0 {
			f.fillTails(&tables)
		}
		require.NoError(b, tables.Wait())
		require.NoError(b, s.db.Ingest(b.Context(), f.paths))
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for still := 0; still < 5; still++ {
		<-tick.C
		if s.db.Metrics().Compact.NumInProgress > 0 {
			still = 0
		}
	}
}

// chunks splits from … to-1 into ranges, and writes a table for each.
func (f *filler) chunks(tables *errgroup.Group, from, to, size int, write func(w *sstable.Writer, from, to int) error) {
	for begin := from; begin < to; begin += size {
		tables.Go(func() error {
			return f.table(func(w *sstable.Writer) error { return write(w, begin, min(to, begin+size)) })
		})
	}
}

// How many rows make a file of about the size that the store would make. Contents and purge rows of messages are never merged, so their
// files contain what was written at a time.
const (
	rowsOfEntries, rowsOfMessages, rowsOfPurges, rowsAtATime = 150_000, 200_000, 500_000, 8_000
)

func (f *filler) fillEntries(tables *errgroup.Group, in ids, l layer) {
	each := f.slots / f.stride
	f.chunks(tables, gone+l.from*each+1, gone+l.to*each+1, rowsOfEntries, func(w *sstable.Writer, from, to int) error {
		var key, value []byte
		for position := from; position < to; position++ {
			round, slot := f.slotOfLarge(position)
			e := f.entry(in, round, slot)
			key, value = entryKey(key[:0], e.User, e.Position), appendEntry(value[:0], &e)
			if err := w.Set(key, value); err != nil {
				return err
			}
		}
		return nil
	})
	f.chunks(tables, 0, f.inboxes, max(1, rowsOfEntries/(l.to-l.from)), func(w *sstable.Writer, from, to int) error {
		var key, value []byte
		for inbox := from; inbox < to; inbox++ {
			for round := l.from; round < l.to; round++ {
				e := f.entry(in, round, f.slot(round, inbox))
				key, value = entryKey(key[:0], e.User, e.Position), appendEntry(value[:0], &e)
				if err := w.Set(key, value); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (f *filler) fillMessages(tables *errgroup.Group, in ids) {
	f.chunks(tables, 0, in.n, rowsOfMessages, func(w *sstable.Writer, from, to int) error {
		var key, value []byte
		for rank := from; rank < to; rank++ {
			m := f.message(in, in.ranked(rank))
			key, value = headerKey(key[:0], m.ID), appendHeader(value[:0], &m, flagContent)
			if err := w.Set(key, value); err != nil {
				return err
			}
		}
		return nil
	})
}

func (f *filler) fillContents(tables *errgroup.Group, in ids) {
	f.chunks(tables, in.first, in.first+in.n, rowsAtATime, func(w *sstable.Writer, from, to int) error {
		var key, header, value []byte
		for number := from; number < to; number++ {
			m := f.message(in, number)
			header = appendHeader(header[:0], &m, flagContent)
			key, value = contentKey(key[:0], millis(m.ExpiresAt), m.ID), appendContent(value[:0], header, &m)
			if err := w.Set(key, value); err != nil {
				return err
			}
		}
		return nil
	})
	f.chunks(tables, in.first, in.first+in.n, rowsAtATime, func(w *sstable.Writer, from, to int) error {
		var key []byte
		for number := from; number < to; number++ {
			key = messagePurgeKey(key[:0], millis(f.at(number).Add(retention)), in.id(number))
			if err := w.Set(key, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// firstOfItsDay reports whether a slot's entry is the first of its inbox that is due on its day.
func (f *filler) firstOfItsDay(round, slot int) bool {
	before := 0
	place := f.place(round, slot)
	switch {
	case place.Position == gone+1:
		return true
	case place.User == largeUser:
		before = f.number(f.slotOfLarge(int(place.Position) - 1))
	default:
		inbox, _ := strconv.Atoi(strings.TrimPrefix(place.User, "user"))
		before = f.number(round-1, f.slot(round-1, inbox))
	}
	return dayOf(millis(f.at(before).Add(retention))) != dayOf(millis(f.at(f.number(round, slot)).Add(retention)))
}

// fillPurges writes the rows that say when an inbox has entries due.
func (f *filler) fillPurges(tables *errgroup.Group, in ids) {
	f.chunks(tables, in.first, in.first+in.n, rowsOfPurges, func(w *sstable.Writer, from, to int) error {
		var key []byte
		for number := from; number < to; number++ {
			round, slot := number/(f.slots/2), number%(f.slots/2)*2
			var users []string
			for _, slot := range []int{slot, slot + 1} {
				if f.firstOfItsDay(round, slot) {
					users = append(users, f.place(round, slot).User)
				}
			}
			slices.Sort(users)
			for _, user := range users {
				key = entryPurgeKey(key[:0], millis(f.at(number).Add(retention)), user)
				if err := w.Set(key, nil); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (f *filler) fillTails(tables *errgroup.Group) {
	tables.Go(func() error {
		return f.table(func(w *sstable.Writer) error {
			err := w.Set(nameKey(tableTails, largeUser), appendNumber(nil, gone))
			for inbox := 0; inbox < f.inboxes && err == nil; inbox++ {
				err = w.Set(nameKey(tableTails, userName(inbox)), appendNumber(nil, gone))
			}
			return err
		})
	})
}

// filled makes a store of a given shape in a folder, unless it exists.
func filled(b *testing.B, folder string, of shape) {
	if _, err := os.Stat(folder); err == nil {
		return
	}
	begun := time.Now()
	s, err := Open(b.Context(), folder+".part", Options{})
	require.NoError(b, err)
	options := s.engineOptions(Options{}.withDefaults())
	options.EnsureDefaults()
	random := make([]byte, 1<<20)
	_, _ = crand.Read(random)
	f := &filler{
		shape: of, folder: folder + ".part", fs: vfs.Default, text: base64.StdEncoding.EncodeToString(random),
		w: options.MakeWriterOptions(6, formatVersion.MaxTableFormat()),
	}
	f.w.DisableValueBlocks = true // see tableOfItsOwn
	f.fill(b, s)
	b.Logf("filled in %s:\n%s", time.Since(begun).Round(time.Millisecond), s.db.Metrics())
	require.NoError(b, s.Close())
	require.NoError(b, os.Rename(folder+".part", folder))
}

// copied makes a folder that shares its tables with a filled store.
func copied(b *testing.B, from, to string) {
	require.NoError(b, os.RemoveAll(to))
	s, err := Open(b.Context(), from, Options{})
	require.NoError(b, err)
	require.NoError(b, s.db.Checkpoint(to))
	require.NoError(b, s.Close())
}

// costs records the cost of each run of an operation.
type costs struct {
	b      *testing.B
	took   []time.Duration
	worked time.Duration
}

func (c *costs) of(f func()) {
	begun, worked := time.Now(), processorTimeOf(c.b)
	f()
	c.worked += processorTimeOf(c.b) - worked
	c.took = append(c.took, time.Since(begun))
}

func (c *costs) report() {
	slices.Sort(c.took)
	c.b.ReportMetric(float64(c.took[len(c.took)/2].Nanoseconds())/1000, "median-µs/op")
	c.b.ReportMetric(float64(c.worked.Nanoseconds())/1000/float64(len(c.took)), "cpu-µs/op")
}

func processorTimeOf(b *testing.B) time.Duration {
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkLarge compares the costs of a store of 1,000 entries with those of larger ones. LARGE lists their sizes, such as
// 1000000,100000000. Each store has one inbox with a hundredth of all entries; the others have a hundred entries each. LARGE_FOLDER keeps
// the stores for the next run; 100,000,000 entries take 45 GB.
//
// Each part begins with a freshly opened store: its cache is empty, but the system's page cache is not.
func BenchmarkLarge(b *testing.B) {
	sizes := []int{1000}
	for _, size := range strings.Split(cmp.Or(os.Getenv("LARGE"), "100000"), ",") {
		n, err := strconv.Atoi(size)
		require.NoError(b, err)
		require.True(b, n >= 10_000 && n%10_000 == 0, "LARGE: multiples of 10,000")
		sizes = append(sizes, n)
	}
	for _, size := range sizes {
		b.Run(fmt.Sprintf("entries=%d", size), func(b *testing.B) {
			root := cmp.Or(os.Getenv("LARGE_FOLDER"), b.TempDir())
			l := &largeStore{shape: shapeOf(size), from: filepath.Join(root, fmt.Sprint("filled-", size)), folder: filepath.Join(root, "work")}
			filled(b, l.from, l.shape)
			copied(b, l.from, l.folder)
			for _, part := range []struct {
				name string
				of   func(b *testing.B, l *largeStore)
			}{
				{"open", benchmarkOpen}, {"poll/any", benchmarkPollAny}, {"poll/large", benchmarkPollLarge}, {"history/any", benchmarkHistoryAny},
				{"history/large", benchmarkHistoryLarge}, {"backup", benchmarkBackup}, {"purge/nothing", benchmarkPurgeNothing},
				{"commit/any", benchmarkCommitAny}, {"commit/known", benchmarkCommitKnown}, {"commit/hundred", benchmarkCommitMany},
				{"purge/due", benchmarkPurgeDue},
			} {
				b.Run(part.name, func(b *testing.B) { part.of(b, l) })
			}
			require.NoError(b, os.RemoveAll(l.folder))
		})
	}
}

type largeStore struct {
	shape
	from, folder string
}

func (l *largeStore) open(b *testing.B) *Store {
	s, err := Open(b.Context(), l.folder, Options{})
	require.NoError(b, err)
	b.Cleanup(func() { _ = s.Close() }) // in case the part fails before it closes the store
	return s
}

// settled waits until Pebble has loaded its table statistics, which it starts after an Open, and has no compactions left.
func settled(s *Store) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for m := s.db.Metrics(); !m.Table.InitialStatsCollectionComplete || m.Compact.NumInProgress > 0; m = s.db.Metrics() {
		<-tick.C
	}
}

// measured repeats an operation on a freshly opened store.
func (l *largeStore) measured(b *testing.B, operation func(s *Store)) {
	l.measuredAfter(b, func(*Store) {}, operation)
}

func (l *largeStore) measuredAfter(b *testing.B, before, operation func(s *Store)) {
	s := l.open(b)
	settled(s)
	before(s)
	c := &costs{b: b}
	blocks := s.db.Metrics().BlockCache.Misses
	for b.Loop() {
		c.of(func() { operation(s) })
	}
	b.ReportMetric(float64(s.db.Metrics().BlockCache.Misses-blocks)/float64(len(c.took)), "blocks/op")
	c.report()
	require.NoError(b, s.Close())
}

func benchmarkOpen(b *testing.B, l *largeStore) {
	c := &costs{b: b}
	var after time.Duration
	for b.Loop() {
		var s *Store
		c.of(func() { s = l.open(b) })
		b.StopTimer()
		worked := processorTimeOf(b)
		settled(s)
		after += processorTimeOf(b) - worked
		require.NoError(b, s.Close())
		b.StartTimer()
	}
	b.ReportMetric(float64(after.Nanoseconds())/1000/float64(len(c.took)), "cpu-µs-after/op")
	c.report()
}

func read(b *testing.B, s *Store, user string, after int64) {
	entries, err := s.Entries(b.Context(), user, after, after+page)
	require.NoError(b, err)
	require.Len(b, entries, page)
	found, err := s.MessagesOf(b.Context(), entries)
	require.NoError(b, err)
	require.Len(b, found, page)
	require.True(b, func() bool { m := found[entries[0].Message]; return m.Names(&entries[0]) }())
}

func readLast(b *testing.B, s *Store, user string) {
	tails, err := s.Tails(b.Context(), []string{user})
	require.NoError(b, err)
	read(b, s, user, tails[user].Position-page)
}

func benchmarkPollAny(b *testing.B, l *largeStore) {
	l.measured(b, func(s *Store) { read(b, s, userName(rand.N(l.inboxes)), int64(gone+rand.N(rounds-page))) })
}

func benchmarkPollLarge(b *testing.B, l *largeStore) {
	l.measured(b, func(s *Store) { read(b, s, largeUser, int64(gone+rand.N(l.large()-page))) })
}

func benchmarkHistoryAny(b *testing.B, l *largeStore) {
	l.measured(b, func(s *Store) { readLast(b, s, userName(rand.N(l.inboxes))) })
}

func benchmarkHistoryLarge(b *testing.B, l *largeStore) {
	l.measured(b, func(s *Store) { readLast(b, s, largeUser) })
}

// benchmarkBackup leaves out the check of the copy, which costs as much as reading everything.
func benchmarkBackup(b *testing.B, l *largeStore) {
	to := l.folder + "-backup"
	s := l.open(b)
	c := &costs{b: b}
	for b.Loop() {
		c.of(func() { require.NoError(b, s.db.Checkpoint(to, engine.WithFlushedWAL())) })
		b.StopTimer()
		require.NoError(b, os.RemoveAll(to))
		b.StartTimer()
	}
	c.report()
	require.NoError(b, s.Close())
}

func benchmarkPurgeNothing(b *testing.B, l *largeStore) {
	now := l.dueAt(1).Add(-time.Millisecond)
	l.measured(b, func(s *Store) {
		removed, err := s.Purge(b.Context(), now)
		require.NoError(b, err)
		require.Zero(b, removed)
	})
}

func benchmarkPurgeDue(b *testing.B, l *largeStore) {
	copied(b, l.from, l.folder)
	s := l.open(b)
	c := &costs{b: b}
	due := 0
	for b.Loop() {
		if due += dueAtOnce; due > l.messages() {
			b.StopTimer()
			require.NoError(b, s.Close())
			copied(b, l.from, l.folder)
			s, due = l.open(b), dueAtOnce
			b.StartTimer()
		}
		c.of(func() {
			removed, err := s.Purge(b.Context(), l.dueAt(due))
			require.NoError(b, err)
			require.EqualValues(b, 3*dueAtOnce, removed)
		})
	}
	c.report()
	require.NoError(b, s.Close())
}

// sender makes sends between inboxes, at their tails.
type sender struct {
	*largeStore
	text string
	last map[int]int64
}

func (l *largeStore) sender() *sender {
	return &sender{l, base64.StdEncoding.EncodeToString(make([]byte, largeContent/4*3)), map[int]int64{}}
}

// send makes a send between two of a set of among inboxes, which is scattered over all inboxes.
func (s *sender) send(among int) store.Send {
	now := s.at(s.messages())
	m := store.Message{
		Content: s.text, IV: "0123456789abcdef", ClientMessageID: "a8098c1a-f86e-11da-bd1a-00112444be1e", SenderKeyVersion: 1,
		CreatedAt: now, ExpiresAt: now.Add(retention), PurgeAt: now.Add(retention),
	}
	_, _ = crand.Read(m.ID[:])
	to := rand.N(among)
	from := (to + 1 + rand.N(among-1)) % among
	entries := make([]store.Entry, 2)
	for i, inbox := range []int{to, from} {
		inbox = inbox * s.step % s.inboxes
		s.last[inbox]++
		entries[i] = store.Entry{
			User: userName(inbox), Position: gone + rounds + s.last[inbox], Kind: store.Received, Message: m.ID, Size: len(s.text),
			WrappedKey: s.text[:largeKey], KeyVersion: 1, At: now, ExpiresAt: m.ExpiresAt, PurgeAt: m.PurgeAt,
		}
		m.Positions = append(m.Positions, entries[i].Position)
	}
	entries[1].Kind, entries[1].WrappedKey = store.Sent, ""
	m.Sender, m.Recipients = entries[1].User, []string{entries[0].User}
	return store.Send{Message: m, Entries: entries}
}

func (s *sender) commit(b *testing.B, in *Store, among, n int) {
	sends := make([]store.Send, n)
	for i := range sends {
		sends[i] = s.send(among)
	}
	results, err := in.Commit(b.Context(), sends)
	require.NoError(b, err)
	for _, r := range results {
		require.True(b, r.Written)
	}
}

// benchmarkCommitAny sends between two inboxes that the store most likely has not cached.
func benchmarkCommitAny(b *testing.B, l *largeStore) {
	copied(b, l.from, l.folder)
	sender := l.sender()
	l.measured(b, func(s *Store) { sender.commit(b, s, l.inboxes, 1) })
}

// benchmarkCommitKnown sends between two inboxes that were written to before.
func benchmarkCommitKnown(b *testing.B, l *largeStore) {
	copied(b, l.from, l.folder)
	sender := l.sender()
	l.measuredAfter(b, func(s *Store) { sender.commit(b, s, min(500, l.inboxes), 5000) },
		func(s *Store) { sender.commit(b, s, min(500, l.inboxes), 1) })
}

// benchmarkCommitMany commits a hundred sends together, between any inboxes.
func benchmarkCommitMany(b *testing.B, l *largeStore) {
	copied(b, l.from, l.folder)
	sender := l.sender()
	l.measured(b, func(s *Store) { sender.commit(b, s, l.inboxes, 100) })
}
