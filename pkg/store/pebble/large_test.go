//go:build unix

package pebble

import (
	"cmp"
	crand "crypto/rand"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

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

// copied makes a folder that shares its tables with a filled store.
func copied(b *testing.B, from, to string) {
	require.NoError(b, os.RemoveAll(to))
	s, err := Open(b.Context(), from, Options{})
	require.NoError(b, err)
	require.NoError(b, s.db.Checkpoint(to))
	require.NoError(b, s.Close())
}
