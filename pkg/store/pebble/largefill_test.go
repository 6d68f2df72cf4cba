//go:build unix

package pebble

import (
	crand "crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

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

func (unsynced) Sync() error { return nil }

func (unsynced) SyncData() error { return nil }

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
