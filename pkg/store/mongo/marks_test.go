package mongo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/sealpost/sealpost/pkg/store"
)

// spied opens a database and counts what is sent to it.
func spied(t *testing.T, cfg Config) (*Store, *spy) {
	t.Helper()
	spy := &spy{}
	cfg.sent = spy.see
	s, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	spy.take()
	return s, spy
}

// spy counts commands and the documents of the inserts.
type spy struct {
	mu                       sync.Mutex
	finds, inserts, inserted int
	// ids are the ids of those documents.
	ids []string
}

func (s *spy) see(e *event.CommandStartedEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e.CommandName {
	case "find", "aggregate":
		s.finds++
	case "insert":
		documents, _ := e.Command.Lookup("documents").ArrayOK()
		values, _ := documents.Values()
		s.inserts++
		s.inserted += len(values)
		for _, v := range values {
			id, _ := v.Document().Lookup("_id").StringValueOK()
			s.ids = append(s.ids, id)
		}
	}
}

// take returns the counts since the last take.
func (s *spy) take() (finds, inserts, inserted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	finds, inserts, inserted = s.finds, s.inserts, s.inserted
	s.finds, s.inserts, s.inserted, s.ids = 0, 0, 0, nil
	return finds, inserts, inserted
}

// row makes one entry for each of many inboxes, at the same position.
func row(inboxes int, position int64) []store.Entry {
	entries := make([]store.Entry, inboxes)
	for i := range entries {
		entries[i] = at(fmt.Sprint("user", i), position)
	}
	return entries
}

func at(user string, position int64) store.Entry {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return store.Entry{
		User: user, Position: position, Kind: store.Received, Message: store.NewMessageID(now), At: now, ExpiresAt: now.Add(time.Hour), PurgeAt: now.Add(time.Hour),
	}
}

func put(t *testing.T, s *Store, entries ...store.Entry) {
	t.Helper()
	written, err := s.InsertEntries(t.Context(), entries)
	require.NoError(t, err)
	require.NotContains(t, written, false)
}

func positionOf(t *testing.T, s *Store, user string) int64 {
	t.Helper()
	tails, err := s.Tails(t.Context(), []string{user})
	require.NoError(t, err)
	return tails[user].Position
}

// TestMarksThatStandTakeNoBulkInsertApart: for inboxes that a process does not know it queries the marks, many in a query, and inserts no
// existing mark, even beyond its memory.
func TestMarksThatStandTakeNoBulkInsertApart(t *testing.T) {
	const inboxes = 4 * maxUnion
	cfg := planDatabase(t)
	one, first := spied(t, cfg)
	other, second := spied(t, cfg)
	other.marks.known = newBlocks(10)
	put(t, one, row(inboxes, 1)...)
	finds, inserts, inserted := first.take()
	require.Equal(t, []int{0, 1, 2 * inboxes}, []int{finds, inserts, inserted}, "who writes the first entry of a block marks it")
	for position := range int64(3) {
		put(t, other, row(inboxes, position+2)...)
		finds, inserts, inserted = second.take()
		require.Equal(t, []int{1, 1, inboxes}, []int{finds, inserts, inserted}, "who comes later asks, and offers no mark")
	}
	put(t, one, row(inboxes, 5)...)
	finds, inserts, inserted = first.take()
	require.Equal(t, []int{0, 1, inboxes}, []int{finds, inserts, inserted}, "who knows does not ask")

	third, spy := spied(t, cfg)
	users := make([]string, inboxes)
	for i := range users {
		users[i] = fmt.Sprint("user", i)
	}
	tails, err := third.Tails(t.Context(), users)
	require.NoError(t, err)
	require.EqualValues(t, 5, tails["user7"].Position)
	finds, _, _ = spy.take()
	require.Equal(t, 2*inboxes/maxUnion, finds)
	put(t, third, row(inboxes, 6)...)
	finds, _, _ = spy.take()
	require.Zero(t, finds, "who has asked for the tails knows the marks")
}

// TestAMissingMarkIsWrittenByWhoeverComesNext: before its entries, if the writer of the block's first position died.
func TestAMissingMarkIsWrittenByWhoeverComesNext(t *testing.T) {
	s, spy := spied(t, planDatabase(t))
	put(t, s, at("bob", 1))
	spy.take()
	put(t, s, at("bob", blockSize+2))
	finds, inserts, inserted := spy.take()
	require.Equal(t, []int{1, 2, 2}, []int{finds, inserts, inserted})
	_, err := s.inbox.DeleteMany(t.Context(), bson.D{eq("u", "bob"), op("s", "$gt", 0)})
	require.NoError(t, err)
	s.age(time.Hour)
	require.EqualValues(t, 2*blockSize, positionOf(t, s, "bob"))
}

// TestATailIsNeverBelowWhatAnInboxHeld: with writers in any order, after everything has been removed.
func TestATailIsNeverBelowWhatAnInboxHeld(t *testing.T) {
	cfg := planDatabase(t)
	const nodes, inboxes, positions = 4, 5, 6 * blockSize
	var all sync.WaitGroup
	stores := make([]*Store, nodes)
	for n := range stores {
		stores[n], _ = spied(t, cfg)
		stores[n].marks.known = newBlocks(3)
	}
	for n, s := range stores {
		all.Go(func() {
			var entries []store.Entry
			for p := n + 1; p <= positions; p += nodes {
				for i := range inboxes {
					if rand.N(4) > 0 { // the other writers have died
						entries = append(entries, at(fmt.Sprint("user", i), int64(p)))
					}
				}
				if len(entries) > 50 {
					_, err := s.InsertEntries(context.Background(), entries)
					require.NoError(t, err)
					entries = nil
				}
			}
		})
	}
	all.Wait()
	for i := range inboxes {
		user := fmt.Sprint("user", i)
		entries, err := stores[0].Entries(t.Context(), user, 0, positions)
		require.NoError(t, err)
		last := entries[len(entries)-1].Position
		require.Equal(t, last, positionOf(t, stores[0], user))
	}
	_, err := stores[0].inbox.DeleteMany(t.Context(), bson.D{op("s", "$gt", 0)})
	require.NoError(t, err)
	stores[1].age(time.Hour)
	for i := range inboxes {
		tail := positionOf(t, stores[1], fmt.Sprint("user", i))
		require.EqualValues(t, positions, tail)
	}
}

// TestABlockThatWasMarkedByAWriterWhoDiedIsTheTail: positions below it may still be written, and do not count as removed.
func TestABlockThatWasMarkedByAWriterWhoDiedIsTheTail(t *testing.T) {
	s, _ := spied(t, planDatabase(t))
	const last = blockSize - 3
	put(t, s, at("bob", last))
	long := time.Now().Add(-2 * longPast)
	require.NoError(t, s.marks.insert(t.Context(), []markDocument{markOf("bob", 2, long, long)}))
	tails, err := s.Tails(t.Context(), []string{"bob"})
	require.NoError(t, err)
	require.Equal(t, store.Tail{Position: 2 * blockSize, Removed: last - 1}, tails["bob"], "an entry stands, and nothing is below it")
}

// TestABlockThatIsMarkedAndNotWrittenYetDoesNotMoveTheTail: a mark is visible before the entries of its bulk insert. Counters were raised
// to the end of the block, and readers waited for the skipped positions.
func TestABlockThatIsMarkedAndNotWrittenYetDoesNotMoveTheTail(t *testing.T) {
	s, _ := spied(t, planDatabase(t))
	now := time.Now()
	for user, c := range map[string]struct {
		age, left time.Duration
		want      int64
	}{
		"new":               {0, time.Hour, 2 * blockSize},
		"ahead":             {-2 * time.Minute, time.Hour, 2 * blockSize},
		"old":               {nearEnd, time.Hour, 3 * blockSize},
		"short":             {0, nearEnd, 3 * blockSize},
		"of a time without": {0, -now.Sub(time.Time{}), 3 * blockSize},
	} {
		require.NoError(t, s.marks.insert(t.Context(), []markDocument{markOf(user, 3, now.Add(-c.age), now.Add(c.left))}))
		require.Equal(t, c.want, positionOf(t, s, user), user)
	}
	put(t, s, at("new", 2*blockSize+1))
	require.EqualValues(t, 2*blockSize+1, positionOf(t, s, "new"))
}

// TestRemovedIsToldOnceNothingIsUnderWay: in the blocks below the marked one.
func TestRemovedIsToldOnceNothingIsUnderWay(t *testing.T) {
	s, _ := spied(t, planDatabase(t))
	for user, c := range map[string]struct {
		age  time.Duration
		want int64
	}{"young": {longPast - time.Minute, 0}, "old": {longPast + time.Minute, 2 * blockSize}} {
		require.NoError(t, s.marks.insert(t.Context(), []markDocument{markOf(user, 3, time.Now().Add(-c.age), time.Now())}))
		tails, err := s.Tails(t.Context(), []string{user})
		require.NoError(t, err)
		require.Equal(t, store.Tail{Position: 3 * blockSize, Removed: c.want}, tails[user], user)
	}
}

// TestAnEntryWhoseMarkIsMissingIsTheTailWhileItStands: a bulk insert may be applied in part.
func TestAnEntryWhoseMarkIsMissingIsTheTailWhileItStands(t *testing.T) {
	s, _ := spied(t, planDatabase(t))
	put(t, s, at("bob", 1))
	_, err := s.inbox.InsertOne(t.Context(), documentOfEntry(at("bob", 3*blockSize)))
	require.NoError(t, err)
	require.EqualValues(t, 3*blockSize, positionOf(t, s, "bob"))
}

// TestAMarkThatAHigherOneStandsInForGoes: and does no harm if a process that does not know the higher one writes it again.
func TestAMarkThatAHigherOneStandsInForGoes(t *testing.T) {
	cfg := planDatabase(t)
	s, _ := spied(t, cfg)
	marks := func(want ...block) {
		t.Helper()
		require.Eventually(t, func() bool {
			found, err := all[markDocument](t.Context(), s.inbox, query{filter: marksBelow("bob", 1<<40), sort: ascending("_id")})
			if err != nil || len(found) != len(want) {
				return false
			}
			for i, d := range found {
				if d.ID != markID("bob", want[i]) {
					return false
				}
			}
			return true
		}, 10*time.Second, 10*time.Millisecond)
	}
	put(t, s, at("bob", 1), at("bobby", 1))
	marks(1)
	put(t, s, at("bob", blockSize+1))
	marks(2)
	other, spy := spied(t, cfg)
	put(t, other, at("bob", 2))
	finds, inserts, inserted := spy.take()
	require.Equal(t, []int{1, 2, 2}, []int{finds, inserts, inserted})
	marks(1, 2)
	require.EqualValues(t, blockSize+1, positionOf(t, other, "bob"))
	put(t, other, at("bob", 2*blockSize+1))
	marks(3)
	first, err := s.FirstAfter(t.Context(), "bob", 2*blockSize+1)
	require.NoError(t, err)
	require.Zero(t, first, "marks are above all positions, and are none")
	require.EqualValues(t, 1, positionOf(t, other, "bobby"))
}

// TestATailIsTheLastEntrysWhileItIsYoung: near its end an entry says nothing of what was above it.
func TestATailIsTheLastEntrysWhileItIsYoung(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		age, left time.Duration
		young     bool
	}{
		{0, time.Hour, true}, {29 * time.Minute, 31 * time.Minute, true}, {31 * time.Minute, 29 * time.Minute, false},
		{0, 9 * time.Minute, false}, {48 * time.Hour, 25 * time.Hour, true}, {48 * time.Hour, 23 * time.Hour, false}, {time.Hour, -time.Hour, false},
	} {
		want := int64(blockSize)
		if c.young {
			want = 5
		}
		require.Equal(t, want, lastEntry{Position: 5, At: now.Add(-c.age), PurgeAt: now.Add(c.left)}.tail(now), "%v", c)
	}
}

func TestKnownBlocksAreBoundedAndForgetOneForEachThatCame(t *testing.T) {
	const most = 1000
	b := newBlocks(most)
	for i := range 3 * most {
		user := fmt.Sprint("user", i)
		b.raise(user, 7)
		b.raise(user, 5)
		require.EqualValues(t, 7, b.get(user))
		require.Len(t, b.of, min(i+1, most))
	}
	require.Zero(t, b.get("nobody"))
	b.raise("far", 1<<40) // higher than can be remembered: it is queried again
	require.Less(t, b.get("far"), block(1<<40))
}

// BenchmarkKnownBlocks measures lookups of the blocks of a million inboxes.
func BenchmarkKnownBlocks(b *testing.B) {
	known := newBlocks(knownInboxes)
	users := make([]string, 1_000_000)
	for i := range users {
		users[i] = fmt.Sprint("user", i)
		known.raise(users[i], 1)
	}
	i := 0
	for b.Loop() {
		known.get(users[i%len(users)])
		i++
	}
}

// TestMarksAreWrittenInOneOrder: two bulk inserts with the same marks in different orders wait for each other.
func TestMarksAreWrittenInOneOrder(t *testing.T) {
	s, spy := spied(t, planDatabase(t))
	byID := func(a, b markDocument) int { return strings.Compare(a.ID, b.ID) }
	together, err := s.marks.prepare(t.Context(), row(40, 1))
	require.NoError(t, err)
	require.Len(t, together, 40)
	require.True(t, slices.IsSortedFunc(together, byID))
	spy.take()
	_, err = s.marks.prepare(t.Context(), row(40, 2))
	require.NoError(t, err)
	require.Len(t, spy.ids, 40)
	require.True(t, slices.IsSorted(spy.ids))
}
