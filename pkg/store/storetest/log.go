package storetest

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

// id makes the message id of a number.
func id(n int) store.MessageID {
	var m store.MessageID
	binary.BigEndian.PutUint64(m[4:], uint64(n))
	return m
}

func entry(user string, position int64, message int) store.Entry {
	at := now()
	return store.Entry{
		User: user, Position: position, Kind: store.Received, Message: id(message),
		WrappedKey: fmt.Sprint("key ", message), KeyVersion: 2, At: at, ExpiresAt: at.Add(time.Hour), PurgeAt: at.Add(2 * time.Hour),
	}
}

func message(n int) store.Message {
	at := now()
	return store.Message{
		ID: id(n), Sender: "Alice", SenderKeyVersion: 4, Recipients: []string{"Bob", "Carol"}, Positions: []int64{int64(n), 1 << 40, 1},
		Content: fmt.Sprint("content ", n), IV: "iv",
		ClientMessageID: "client id", Digest: store.Digest{byte(n)}, CreatedAt: at, ExpiresAt: at.Add(time.Hour), PurgeAt: at.Add(2 * time.Hour),
	}
}

// insert writes entries at free positions.
func insert(t *testing.T, s store.Log, entries ...store.Entry) {
	t.Helper()
	written, err := s.InsertEntries(t.Context(), entries)
	require.NoError(t, err)
	require.Len(t, written, len(entries))
	require.NotContains(t, written, false)
}

var logTests = []test{
	{"a position is written by exactly one of many", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		const positions = 10
		var won [positions]atomic.Int64
		together(writers, func(w int) {
			entries := make([]store.Entry, positions)
			for i := range entries {
				entries[i] = entry("bob", int64(i+1), w*positions+i)
			}
			results, err := s.InsertEntries(t.Context(), entries)
			require.NoError(t, err)
			for i, written := range results {
				if written {
					won[i].Add(1)
				}
			}
		})
		for i := range won {
			require.EqualValues(t, 1, won[i].Load(), "position %d", i+1)
		}
	}},
	{"what stands under an id is kept for longer, and never for less", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		alive := message(2)
		fallen := store.Message{ID: id(1), Tombstone: true, CreatedAt: now(), ExpiresAt: alive.ExpiresAt, PurgeAt: alive.PurgeAt}
		whole := message(3)
		whole.PurgeAt = whole.ExpiresAt
		_, err := s.InsertMessages(t.Context(), []store.Message{fallen, alive, whole})
		require.NoError(t, err)
		for _, m := range []store.Message{fallen, alive, whole} {
			for _, by := range []time.Duration{time.Hour, -time.Hour, 30 * time.Minute} {
				require.NoError(t, s.Keep(t.Context(), m, m.PurgeAt.Add(by)))
				want := m
				want.PurgeAt = m.PurgeAt.Add(time.Hour)
				found, err := s.Messages(t.Context(), []store.MessageID{m.ID})
				require.NoError(t, err)
				require.Equal(t, want, found[m.ID])
				decided, err := s.Decided(t.Context(), []store.MessageID{m.ID})
				require.NoError(t, err)
				require.Equal(t, map[store.MessageID]time.Time{m.ID: want.PurgeAt}, decided)
			}
		}
		require.ErrorIs(t, s.Keep(t.Context(), message(4), alive.PurgeAt.Add(time.Hour)), store.ErrNotFound)
		require.NoError(t, a.Purge(t.Context(), s, whole.PurgeAt.Add(time.Minute)))
		found, err := s.Messages(t.Context(), []store.MessageID{whole.ID})
		require.NoError(t, err)
		require.True(t, found[whole.ID].Erased, "its content goes when it would have gone")
		require.Empty(t, found[whole.ID].Content)
		require.Equal(t, whole.PurgeAt.Add(time.Hour), found[whole.ID].PurgeAt)
		require.NoError(t, s.Keep(t.Context(), found[whole.ID], whole.PurgeAt.Add(2*time.Hour)))
		require.NoError(t, a.Purge(t.Context(), s, whole.PurgeAt.Add(90*time.Minute)))
		decided, err := s.Decided(t.Context(), []store.MessageID{whole.ID})
		require.NoError(t, err)
		require.Len(t, decided, 1)
		require.NoError(t, a.Purge(t.Context(), s, whole.PurgeAt.Add(3*time.Hour)))
		decided, err = s.Decided(t.Context(), []store.MessageID{id(1), id(2), whole.ID})
		require.NoError(t, err)
		require.Empty(t, decided)
	}},
	{"nothing is kept in the place of what was read and has gone since", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		for n, fallen := range []bool{false, true} {
			read := message(n)
			read.Tombstone = fallen
			read.CreatedAt, read.ExpiresAt, read.PurgeAt = now().Add(-2*time.Hour), now().Add(-time.Minute), now().Add(-time.Minute)
			later, other := message(n), message(n)
			other.Tombstone, other.CreatedAt = true, read.CreatedAt
			for _, standing := range []store.Message{later, other} {
				if standing.Tombstone == fallen && standing.CreatedAt.Equal(read.CreatedAt) {
					continue // it would be the same message
				}
				written, err := s.InsertMessages(t.Context(), []store.Message{read})
				require.NoError(t, err)
				require.Equal(t, []bool{true}, written)
				require.NoError(t, a.Purge(t.Context(), s, now()))
				written, err = s.InsertMessages(t.Context(), []store.Message{standing})
				require.NoError(t, err)
				require.Equal(t, []bool{true}, written)
				require.ErrorIs(t, s.Keep(t.Context(), read, now().Add(10*time.Hour)), store.ErrNotFound)
				require.ErrorIs(t, s.Keep(t.Context(), read, now().Add(-10*time.Hour)), store.ErrNotFound)
				decided, err := s.Decided(t.Context(), []store.MessageID{standing.ID})
				require.NoError(t, err)
				require.Equal(t, map[store.MessageID]time.Time{standing.ID: standing.PurgeAt}, decided)
				require.NoError(t, a.Purge(t.Context(), s, standing.PurgeAt.Add(time.Minute)))
			}
		}
	}},
	{"a message id is written by exactly one of many, and its content stays", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		var won atomic.Int64
		winner := atomic.Int64{}
		together(writers, func(w int) {
			m := message(1)
			m.Content = fmt.Sprint(w)
			written, err := s.InsertMessages(t.Context(), []store.Message{m})
			require.NoError(t, err)
			if written[0] {
				won.Add(1)
				winner.Store(int64(w))
			}
		})
		require.EqualValues(t, 1, won.Load())
		found, err := s.Messages(t.Context(), []store.MessageID{id(1)})
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(winner.Load()), found[id(1)].Content)
	}},
	{"an entry that is refused keeps no other out, and the results are in order", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		first, below, again := entry("bob", 2, 2), entry("bob", 1, 1), entry("bob", 3, 2)
		insert(t, s, first)
		written, err := s.InsertEntries(t.Context(), []store.Entry{below, entry("bob", 2, 9), entry("carol", 2, 2), again})
		require.NoError(t, err)
		require.Equal(t, []bool{true, false, true, true}, written, "a message may stand in an inbox more than once")
		stands, err := s.Entries(t.Context(), "bob", 0, 100)
		require.NoError(t, err)
		require.Equal(t, []store.Entry{below, first, again}, stands)
	}},
	{"one message id twice in one slice is written once", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		written, err := s.InsertMessages(t.Context(), []store.Message{message(1), message(2), message(1)})
		require.NoError(t, err)
		require.Equal(t, []bool{true, true, false}, written)
	}},
	{"entries are found at their places", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		all := []store.Entry{entry("bob", 1, 1), entry("bob", 2, 2), entry("carol", 2, 2), entry("bobby", 3, 3)}
		insert(t, s, all...)
		place := func(user string, position int64) store.Place { return store.Place{User: user, Position: position} }
		for _, c := range []struct {
			places []store.Place
			want   []store.Entry
		}{
			{[]store.Place{place("bob", 2)}, all[1:2]},
			{[]store.Place{place("bobby", 3), place("carol", 2), place("bob", 1)}, []store.Entry{all[0], all[2], all[3]}},
			{[]store.Place{place("carol", 1), place("bob", 3), place("bo", 2), place("bob", 0), place("bob", 1)}, all[:1]},
			{nil, nil},
		} {
			got, err := s.EntriesAt(t.Context(), c.places)
			require.NoError(t, err)
			require.ElementsMatch(t, c.want, got)
		}
	}},
	{"a thousand entries are found at their places", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		const users = 1100
		entries, places := make([]store.Entry, users), make([]store.Place, users)
		for i := range entries {
			entries[i] = entry(fmt.Sprint("user", i), int64(i+1), 1)
			places[i] = entries[i].Place()
		}
		insert(t, s, entries...)
		got, err := s.EntriesAt(t.Context(), places)
		require.NoError(t, err)
		require.ElementsMatch(t, entries, got)
	}},
	{"entries are read back as they were written, within the bounds, in order", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		hole := entry("bob", 5, 50)
		hole.Kind, hole.WrappedKey, hole.KeyVersion = store.Hole, "", 0
		all := []store.Entry{entry("bob", 1, 1), entry("bob", 2, 2), entry("bob", 4, 4), hole}
		insert(t, s, all[2], all[0], all[3], all[1], entry("bobby", 3, 3), entry("bo", 3, 3))
		for _, c := range []struct{ after, upTo, from, to int64 }{{0, 100, 0, 4}, {-1, 2, 0, 2}, {1, 4, 1, 3}, {4, 5, 3, 4}, {5, 100, 4, 4}, {2, 3, 2, 2}} {
			got, err := s.Entries(t.Context(), "bob", c.after, c.upTo)
			require.NoError(t, err)
			require.Equal(t, append([]store.Entry(nil), all[c.from:c.to]...), got, "after %d up to %d", c.after, c.upTo)
		}
	}},
	{"the first position after another is found", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		insert(t, s, entry("bob", 3, 3), entry("bob", 900, 9), entry("bob", 100_000, 10))
		for after, want := range map[int64]int64{0: 3, 2: 3, 3: 900, 899: 900, 900: 100_000, 100_000: 0, 1 << 50: 0} {
			got, err := s.FirstAfter(t.Context(), "bob", after)
			require.NoError(t, err)
			require.Equal(t, want, got, "after %d", after)
		}
		got, err := s.FirstAfter(t.Context(), "bob", math.MaxInt64)
		require.NoError(t, err)
		require.Zero(t, got, "nothing is above the highest number there is")
		got, err = s.FirstAfter(t.Context(), "carol", 0)
		require.NoError(t, err)
		require.Zero(t, got)
	}},
	{"the tail is the highest position that holds an entry", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		requireTail(t, s, 0)
		for _, p := range []int64{1, 2, 7, 300, 5000, 4000} {
			insert(t, s, entry("bob", p, int(p)))
			entries, err := s.Entries(t.Context(), "bob", 0, 1<<40)
			require.NoError(t, err)
			requireTail(t, s, entries[len(entries)-1].Position)
		}
	}},
	{"the tail does not go back when all has expired", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		const entries = 200
		for p := range int64(entries) {
			insert(t, s, entry("bob", p+1, int(p)))
		}
		require.NoError(t, a.Purge(t.Context(), s, now().Add(3*time.Hour)))
		left, err := s.Entries(t.Context(), "bob", 0, 1<<40)
		require.NoError(t, err)
		require.Empty(t, left)
		tail := tailOf(t, s, "bob")
		require.GreaterOrEqual(t, tail.Position, int64(entries))
		insert(t, s, entry("bob", tail.Position+1, 1000))
		requireTail(t, s, tail.Position+1)
	}},
	{"tails are told of many inboxes at once", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		const users = 300
		want := map[string]int64{"nobody": 0}
		names := []string{"nobody"}
		var entries []store.Entry
		for i := range users {
			user, tail := fmt.Sprint("user", i), int64(1+i*i%700)
			want[user], names = tail, append(names, user)
			entries = append(entries, entry(user, tail, 2*i))
			if tail > 3 {
				entries = append(entries, entry(user, tail-3, 2*i+1))
			}
		}
		insert(t, s, entries...)
		tails, err := s.Tails(t.Context(), names)
		require.NoError(t, err)
		for user, position := range want {
			require.Equal(t, position, tails[user].Position, user)
		}
		tails, err = s.Tails(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, tails)
	}},
	{"what retention has removed is told, and never more than that", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		const removed = 300
		at := now().Add(-48 * time.Hour)
		old := func(position int64, purged bool) store.Entry {
			e := entry("bob", position, int(position))
			e.At = at
			if purged {
				e.PurgeAt = at.Add(time.Hour)
			}
			return e
		}
		var entries []store.Entry
		for p := range int64(removed) {
			entries = append(entries, old(p+1, p+1 != 5)) // one was written later than its neighbours: it stays
		}
		insert(t, s, append(entries, old(removed+1, false))...)
		require.Zero(t, tailOf(t, s, "bob").Removed)
		require.Zero(t, tailOf(t, s, "carol"))
		require.NoError(t, a.Purge(t.Context(), s, now()))
		tail := tailOf(t, s, "bob")
		require.GreaterOrEqual(t, tail.Position, int64(removed+1))
		require.Less(t, tail.Position, int64(removed+1+128), "of what is long past only the last block's part may be unknown")
		require.LessOrEqual(t, tail.Removed, int64(4))
		later := now().Add(3 * time.Hour)
		insert(t, s, old(removed+2, false))
		require.NoError(t, a.Purge(t.Context(), s, later))
		tail = tailOf(t, s, "bob")
		require.GreaterOrEqual(t, tail.Position, int64(removed+2))
		require.Greater(t, tail.Removed, int64(removed-128), "of what is long past only the last block's part may be unknown")
		require.LessOrEqual(t, tail.Removed, tail.Position)
		insert(t, s, entry("bob", tail.Position+1, 1000))
		require.LessOrEqual(t, tailOf(t, s, "bob").Removed, tail.Position)
	}},
	{"entries and messages go when they are to be purged, and contents when they have expired, and nothing else", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		old, young := entry("bob", 1, 1), entry("bob", 2, 2)
		old.PurgeAt = now().Add(-time.Second)
		gone, expired, lasting := message(1), message(3), message(2)
		gone.ExpiresAt, gone.PurgeAt = now().Add(-2*time.Second), now().Add(-time.Second)
		expired.ExpiresAt = now().Add(-time.Second)
		none, failed := store.Message{ID: id(4), Tombstone: true, ExpiresAt: expired.ExpiresAt, CreatedAt: now(), PurgeAt: lasting.PurgeAt}, message(5)
		failed.Tombstone, failed.ExpiresAt, failed.PurgeAt = true, gone.ExpiresAt, gone.PurgeAt
		insert(t, s, old, young)
		_, err := s.InsertMessages(t.Context(), []store.Message{gone, expired, lasting, none, failed})
		require.NoError(t, err)
		require.NoError(t, a.Purge(t.Context(), s, now()))
		entries, err := s.Entries(t.Context(), "bob", 0, 100)
		require.NoError(t, err)
		require.Equal(t, []store.Entry{young}, entries)
		ids := []store.MessageID{id(1), id(2), id(3), id(4), id(5)}
		messages, err := s.Messages(t.Context(), ids)
		require.NoError(t, err)
		erased := expired
		erased.Content, erased.IV, erased.Recipients, erased.Positions, erased.Erased = "", "", nil, nil, true
		require.Equal(t, map[store.MessageID]store.Message{id(2): lasting, id(3): erased, id(4): none}, messages)
		decided, err := s.Decided(t.Context(), ids)
		require.NoError(t, err)
		require.Equal(t, map[store.MessageID]time.Time{id(2): lasting.PurgeAt, id(3): expired.PurgeAt, id(4): none.PurgeAt}, decided)
		written, err := s.InsertMessages(t.Context(), []store.Message{expired, gone})
		require.NoError(t, err)
		require.Equal(t, []bool{false, true}, written, "an id is in use until it is purged, and no longer")
		requireTail(t, s, 2)
	}},
	{"a message is not purged before it expires", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		m := message(1)
		m.PurgeAt = time.Time{}
		_, err := s.InsertMessages(t.Context(), []store.Message{m})
		require.NoError(t, err)
		require.NoError(t, a.Purge(t.Context(), s, m.ExpiresAt.Add(-time.Minute)))
		found, err := s.Messages(t.Context(), []store.MessageID{id(1)})
		require.NoError(t, err)
		m.PurgeAt = m.ExpiresAt
		require.Equal(t, m, found[id(1)])
		require.NoError(t, a.Purge(t.Context(), s, m.ExpiresAt.Add(time.Minute)))
		found, err = s.Messages(t.Context(), []store.MessageID{id(1)})
		require.NoError(t, err)
		require.Empty(t, found)
	}},
	{"messages are read back as they were written, tombstones too, and what is not there is missing", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		plain, large, tombstone := message(1), message(2), store.Message{ID: id(3), Tombstone: true, CreatedAt: now(), ExpiresAt: now().Add(time.Hour), PurgeAt: now().Add(time.Hour)}
		large.Content = strings.Repeat("x", 5<<20)
		plain.Content, plain.IV, plain.ClientMessageID = "Grüße, 世界 👋 \u202e \"'\\ $.{}", "", "日本"
		want := map[store.MessageID]store.Message{plain.ID: plain, large.ID: large, tombstone.ID: tombstone}
		written, err := s.InsertMessages(t.Context(), []store.Message{plain, large, tombstone})
		require.NoError(t, err)
		require.Equal(t, []bool{true, true, true}, written)
		got, err := s.Messages(t.Context(), []store.MessageID{id(1), id(2), id(3), id(4)})
		require.NoError(t, err)
		require.Len(t, got[large.ID].Content, len(large.Content))
		require.Equal(t, strings.Count(large.Content, "x"), strings.Count(got[large.ID].Content, "x"))
		for id, m := range got {
			m.Content, m.Recipients = want[id].Content[:min(len(m.Content), 100)], slices.Clone(m.Recipients)
			w := want[id]
			w.Content = m.Content
			require.Equal(t, w, m)
		}
		require.Len(t, got, 3)
		decided, err := s.Decided(t.Context(), []store.MessageID{id(1), id(2), id(3), id(4)})
		require.NoError(t, err)
		require.Equal(t, map[store.MessageID]time.Time{id(1): plain.PurgeAt, id(2): large.PurgeAt, id(3): tombstone.PurgeAt}, decided)
		decided, err = s.Decided(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, decided)
		none, err := s.Messages(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, none)
	}},
	{"the messages of entries are found", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		insert(t, s, entry("bob", 1, 1), entry("bob", 2, 2), entry("bob", 3, 3), entry("bob", 4, 4), entry("carol", 1, 1))
		_, err := s.InsertMessages(t.Context(), []store.Message{message(2), message(1), message(5)})
		require.NoError(t, err)
		s = a.Reopen(t, s)
		insert(t, s, entry("dave", 1, 3), entry("dave", 2, 6))
		_, err = s.InsertMessages(t.Context(), []store.Message{message(6), message(3)})
		require.NoError(t, err)
		want := map[store.MessageID]store.Message{id(1): message(1), id(2): message(2), id(3): message(3)}
		for id, m := range want {
			m.CreatedAt, m.ExpiresAt, m.PurgeAt = time.Time{}, time.Time{}, time.Time{}
			want[id] = m
		}
		entries, err := s.Entries(t.Context(), "bob", 0, 100)
		require.NoError(t, err)
		require.Len(t, entries, 4)
		got, err := s.MessagesOf(t.Context(), entries)
		require.NoError(t, err)
		for id, m := range got {
			m.CreatedAt, m.ExpiresAt, m.PurgeAt = time.Time{}, time.Time{}, time.Time{}
			got[id] = m
		}
		require.Equal(t, want, got)
		none, err := s.MessagesOf(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, none)
	}},
	{"the first reading counts, whoever comes later", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		read, unread := entry("bob", 1, 1), entry("bob", 2, 1)
		insert(t, s, read, unread)
		first := now().Add(-time.Hour)
		require.NoError(t, s.MarkRead(t.Context(), read.Place(), first))
		together(writers, func(i int) {
			require.NoError(t, s.MarkRead(t.Context(), read.Place(), first.Add(time.Duration(i+1)*time.Second)))
		})
		got, err := s.Entries(t.Context(), "bob", 0, 10)
		require.NoError(t, err)
		read.ReadAt = first
		require.Equal(t, []store.Entry{read, unread}, got)
		for _, nowhere := range []store.Place{{User: "bob", Position: 3}, {User: "carol", Position: 1}} {
			require.ErrorIs(t, s.MarkRead(t.Context(), nowhere, now()), store.ErrNotFound)
		}
	}},
	{"receipts tell of the places asked about, once they are read", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		bob, later, carol := entry("bob", 1, 1), entry("bob", 2, 2), entry("carol", 1, 1)
		insert(t, s, bob, later, carol)
		at := now()
		require.NoError(t, s.MarkRead(t.Context(), bob.Place(), at))
		require.NoError(t, s.MarkRead(t.Context(), later.Place(), at.Add(time.Second)))
		nowhere := store.Place{User: "dave", Position: 1}
		for _, c := range []struct {
			asked []store.Place
			want  map[store.Place]time.Time
		}{
			{[]store.Place{bob.Place(), carol.Place()}, map[store.Place]time.Time{bob.Place(): at}},
			{[]store.Place{carol.Place(), nowhere, later.Place(), bob.Place()}, map[store.Place]time.Time{bob.Place(): at, later.Place(): at.Add(time.Second)}},
			{[]store.Place{carol.Place()}, map[store.Place]time.Time{}},
			{nil, map[store.Place]time.Time{}},
		} {
			got, err := s.Receipts(t.Context(), c.asked)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		}
	}},
	{"receipts of many messages to many are told in one call", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		const messages, readers = 50, 120
		at := now()
		var asked []store.Place
		var entries []store.Entry
		for m := range messages {
			for r := range readers {
				e := entry(fmt.Sprint("user", r), int64(m+1), m)
				if (m+r)%3 == 0 {
					e.ReadAt = at
				}
				asked, entries = append(asked, e.Place()), append(entries, e)
			}
		}
		insert(t, s, entries...)
		got, err := s.Receipts(t.Context(), asked)
		require.NoError(t, err)
		require.Len(t, got, messages*readers/3)
	}},
	{"the log survives a restart", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		want := entry("bob", 1, 1)
		insert(t, s, want)
		_, err := s.InsertMessages(t.Context(), []store.Message{message(1)})
		require.NoError(t, err)
		s = a.Reopen(t, s)
		got, err := s.Entries(t.Context(), "bob", 0, 10)
		require.NoError(t, err)
		require.Equal(t, []store.Entry{want}, got)
		written, err := s.InsertEntries(t.Context(), []store.Entry{entry("bob", 1, 2)})
		require.NoError(t, err)
		require.Equal(t, []bool{false}, written)
	}},
}

func requireTail(t *testing.T, s store.Log, want int64) {
	t.Helper()
	require.Equal(t, want, tailOf(t, s, "bob").Position)
}

func tailOf(t *testing.T, s store.Log, user string) store.Tail {
	t.Helper()
	tails, err := s.Tails(t.Context(), []string{user})
	require.NoError(t, err)
	return tails[user]
}
