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

// What is the same in a store of any size.
const (
	// rounds is how many entries an inbox has. In each round every inbox is given one, in another order.
	rounds = 100
	// retention is over which time the messages are spread, and how long each is kept.
	retention = 90 * 24 * time.Hour
	// gone is how many entries of each inbox retention has removed before.
	gone = 10
	// page is how many entries a read asks for.
	page = 50
	// dueAtOnce is how many messages one measured purge finds due. Each has two entries.
	dueAtOnce = 500

	largeContent, largeKey = 400, 344
	largeUser              = "large"
)

// oldest is when the first message was sent: in the middle of a day, so that there is a day of which only a part is due.
var oldest = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// shape says which entries there are. All is computed, so that any table can be written in the order of its keys: a round is a row of
// slots, two for a message, the recipient's and the sender's; the first of every stride slots is one of the large inbox.
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

// scatter returns a factor that scatters the numbers below n over them, and the one that gathers them.
func scatter(n int) (step, back int) {
	for step = max(1, n*618/1000); ; step++ {
		if inverse := new(big.Int).ModInverse(big.NewInt(int64(step)), big.NewInt(int64(n))); inverse != nil {
			return step, int(inverse.Int64())
		}
	}
}

func (s shape) messages() int { return s.entries / 2 }

// large is how many entries the large inbox has.
func (s shape) large() int { return s.entries / s.stride }

func userName(inbox int) string { return fmt.Sprintf("user%07d", inbox) }

// place is whose a slot is.
func (s shape) place(round, slot int) store.Place {
	if slot%s.stride == 0 {
		return store.Place{User: largeUser, Position: int64(gone + round*(s.slots/s.stride) + slot/s.stride + 1)}
	}
	n := slot - slot/s.stride - 1
	return store.Place{User: userName((n*s.step + round*7919) % s.inboxes), Position: int64(gone + round + 1)}
}

// slot is where an inbox stands in a round.
func (s shape) slot(round, inbox int) int {
	n := (inbox + s.inboxes - round*7919%s.inboxes) % s.inboxes * s.back % s.inboxes
	return n/(s.stride-1)*s.stride + 1 + n%(s.stride-1)
}

// slotOfLarge is where a position of the large inbox stands.
func (s shape) slotOfLarge(position int) (round, slot int) {
	each := s.slots / s.stride
	return (position - gone - 1) / each, (position - gone - 1) % each * s.stride
}

// number is the number of the message of a slot. They are in the order of time.
func (s shape) number(round, slot int) int { return round*s.slots/2 + slot/2 }

func (s shape) at(number int) time.Time {
	return oldest.Add((retention / time.Duration(s.messages())).Truncate(time.Millisecond) * time.Duration(number))
}

// dueAt is when so many messages are due.
func (s shape) dueAt(messages int) time.Time { return s.at(messages - 1).Add(retention) }

// layer is what is in one level of the tree, a range of rounds: what is newer is further up.
type layer struct{ from, to int }

// layers are as in a tree that has grown: each level has ten times as much as the one above it. What is small is in one.
func (s shape) layers() []layer {
	if s.entries < 1_000_000 {
		return []layer{{0, rounds}}
	}
	return []layer{{0, 89}, {89, 99}, {99, rounds}}
}

// ids numbers the messages of a layer so that their ids are scattered over all there are, and can be told in their order.
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

// ranked is the number of the message whose id is the rank-th of the layer.
func (i ids) ranked(rank int) int { return i.first + rank*i.back%i.n }

// filler writes tables as the store would have them after so many sends.
type filler struct {
	shape
	folder string
	fs     vfs.FS
	w      sstable.WriterOptions
	text   string

	mu    sync.Mutex
	paths []string
}

// unsynced spares the syncs of what is made for a measurement.
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

// cut is a text that cannot be compressed, another one for each number.
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

// fill fills a store, level by level from the lowest.
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

// chunks hands ranges of from … to-1 to f, each for a table.
func (f *filler) chunks(tables *errgroup.Group, from, to, size int, write func(w *sstable.Writer, from, to int) error) {
	for begin := from; begin < to; begin += size {
		tables.Go(func() error {
			return f.table(func(w *sstable.Writer) error { return write(w, begin, min(to, begin+size)) })
		})
	}
}

// How many rows make a file of about the size that the store would give it: contents and ends of messages are never merged, so that their files
// are what was written at a time.
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

// firstOfItsDay reports whether a slot's is the first entry of its inbox that goes on its day.
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

// fillPurges writes the rows that tell when an inbox has something due.
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

// filled makes a store of a size in a folder, or takes the one that is there.
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

// copied makes a folder that shares its tables with a filled one.
func copied(b *testing.B, from, to string) {
	require.NoError(b, os.RemoveAll(to))
	s, err := Open(b.Context(), from, Options{})
	require.NoError(b, err)
	require.NoError(b, s.db.Checkpoint(to))
	require.NoError(b, s.Close())
}

// costs are what an operation took each time.
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

// BenchmarkLarge tells what a store of 1,000 entries costs, and what larger ones do: LARGE is their sizes, such as 1000000,100000000. Each
// has one inbox with a hundredth of all entries, and others with a hundred each. LARGE_FOLDER is where they are kept for the next time;
// 100,000,000 entries take 45 GB.
//
// Each part begins with a store that was just opened: the cache is empty, and what of the folder the system remembers it remembers.
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
	b.Cleanup(func() { _ = s.Close() }) // where the part fails before it has closed it
	return s
}

// settled waits until Pebble has looked at all its tables, which it does by itself after an Open, and has nothing to merge.
func settled(s *Store) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for m := s.db.Metrics(); !m.Table.InitialStatsCollectionComplete || m.Compact.NumInProgress > 0; m = s.db.Metrics() {
		<-tick.C
	}
}

// measured does an operation over and over on a store that was just opened.
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

// benchmarkBackup is without the check that reads the copy, whose cost is that of reading all there is.
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

// sender makes sends between inboxes, at their ends.
type sender struct {
	*largeStore
	text string
	last map[int]int64
}

func (l *largeStore) sender() *sender {
	return &sender{l, base64.StdEncoding.EncodeToString(make([]byte, largeContent/4*3)), map[int]int64{}}
}

// send is one between two of the first so many inboxes, in a scattered order.
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

// benchmarkCommitAny is a send between two inboxes of which the store most likely knows nothing yet.
func benchmarkCommitAny(b *testing.B, l *largeStore) {
	copied(b, l.from, l.folder)
	sender := l.sender()
	l.measured(b, func(s *Store) { sender.commit(b, s, l.inboxes, 1) })
}

// benchmarkCommitKnown is a send between two inboxes that were written to before.
func benchmarkCommitKnown(b *testing.B, l *largeStore) {
	copied(b, l.from, l.folder)
	sender := l.sender()
	l.measuredAfter(b, func(s *Store) { sender.commit(b, s, min(500, l.inboxes), 5000) },
		func(s *Store) { sender.commit(b, s, min(500, l.inboxes), 1) })
}

// benchmarkCommitMany is for a send of a hundred that come together, between any inboxes.
func benchmarkCommitMany(b *testing.B, l *largeStore) {
	copied(b, l.from, l.folder)
	sender := l.sender()
	l.measured(b, func(s *Store) { sender.commit(b, s, l.inboxes, 100) })
}
