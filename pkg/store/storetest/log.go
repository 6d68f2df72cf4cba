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

// id is the message id of a number.
func id(n int) store.MessageID {
	var m store.MessageID
	binary.BigEndian.PutUint64(m[4:], uint64(n))
	return m
}

func entry(user string, position int64, message int) store.Entry {
	at := now()
	return store.Entry{
		User: user, Position: position, Kind: store.Received, Message: id(message), Digest: store.Digest{byte(message)},
		WrappedKey: fmt.Sprint("key ", message), KeyVersion: 2, At: at, ExpiresAt: at.Add(time.Hour), PurgeAt: at.Add(2 * time.Hour),
	}
}

func message(n int) store.Message {
	at := now()
	return store.Message{
		ID: id(n), Sender: "Alice", SenderKeyVersion: 4, Recipients: []string{"Bob", "Carol"}, Content: fmt.Sprint("content ", n), IV: "iv",
		ClientMessageID: "client id", Digest: store.Digest{byte(n)}, CreatedAt: at, ExpiresAt: at.Add(time.Hour), PurgeAt: at.Add(2 * time.Hour),
	}
}

// insert writes entries that nothing stands in the way of.
func insert(t *testing.T, s store.Log, entries ...store.Entry) {
	t.Helper()
	results, err := s.InsertEntries(t.Context(), entries)
	require.NoError(t, err)
	require.Equal(t, make([]store.EntryResult, len(entries)), results)
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
			for i, r := range results {
				require.Nil(t, r.Existing)
				if !r.PositionTaken {
					won[i].Add(1)
				}
			}
		})
		for i := range won {
			require.EqualValues(t, 1, won[i].Load(), "position %d", i+1)
		}
	}},
	{"a message comes into an inbox once, and the others learn where it stands", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		var won atomic.Int64
		seen := make([]int64, writers)
		together(writers, func(w int) {
			results, err := s.InsertEntries(t.Context(), []store.Entry{entry("bob", int64(w+1), 1)})
			require.NoError(t, err)
			if results[0].Existing == nil {
				require.False(t, results[0].PositionTaken)
				won.Add(1)
				seen[w] = int64(w + 1)
				return
			}
			seen[w] = results[0].Existing.Position
		})
		require.EqualValues(t, 1, won.Load())
		for _, p := range seen {
			require.Equal(t, seen[0], p)
		}
		insert(t, s, entry("carol", 1, 1))
	}},
	{"a tombstone is kept for longer, and never for less", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		alive := message(2)
		fallen := store.Message{ID: id(1), Tombstone: true, CreatedAt: now(), ExpiresAt: alive.ExpiresAt, PurgeAt: alive.PurgeAt}
		_, err := s.InsertMessages(t.Context(), []store.Message{fallen, alive})
		require.NoError(t, err)
		for _, by := range []time.Duration{time.Hour, -time.Hour, 30 * time.Minute} {
			require.NoError(t, s.RenewTombstone(t.Context(), id(1), fallen.PurgeAt.Add(by)))
			found, err := s.Messages(t.Context(), []store.MessageID{id(1)})
			require.NoError(t, err)
			require.Equal(t, fallen.PurgeAt.Add(time.Hour), found[id(1)].PurgeAt)
			require.True(t, found[id(1)].Tombstone)
		}
		require.ErrorIs(t, s.RenewTombstone(t.Context(), id(2), alive.PurgeAt.Add(time.Hour)), store.ErrNotFound)
		require.ErrorIs(t, s.RenewTombstone(t.Context(), id(3), alive.PurgeAt.Add(time.Hour)), store.ErrNotFound)
		found, err := s.Messages(t.Context(), []store.MessageID{id(2)})
		require.NoError(t, err)
		require.Equal(t, alive.PurgeAt, found[id(2)].PurgeAt)
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
		first := entry("bob", 2, 2)
		insert(t, s, first)
		results, err := s.InsertEntries(t.Context(), []store.Entry{
			entry("bob", 1, 1), entry("bob", 2, 9), entry("carol", 2, 2), entry("bob", 3, 2), entry("bob", 2, 2), entry("bob", 4, 4), entry("bob", 5, 4),
		}[:4])
		require.NoError(t, err)
		require.Equal(t, []store.Entry{first}, []store.Entry{*results[3].Existing})
		require.Equal(t, []store.EntryResult{{}, {PositionTaken: true}, {}, {Existing: results[3].Existing}}, results)
		stands, err := s.Entries(t.Context(), "bob", 0, 100)
		require.NoError(t, err)
		require.Len(t, stands, 2)
	}},
	{"where both stand in the way, the entry that exists is reported", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		first := entry("bob", 2, 2)
		insert(t, s, first, entry("bob", 3, 3))
		for _, again := range []store.Entry{first, entry("bob", 3, 2)} {
			results, err := s.InsertEntries(t.Context(), []store.Entry{again})
			require.NoError(t, err)
			require.Equal(t, []store.Entry{first}, []store.Entry{*results[0].Existing})
			require.False(t, results[0].PositionTaken)
		}
	}},
	{"one message twice in one slice is written once", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		results, err := s.InsertEntries(t.Context(), []store.Entry{entry("bob", 1, 1), entry("bob", 2, 1)})
		require.NoError(t, err)
		require.Equal(t, store.EntryResult{}, results[0])
		require.EqualValues(t, 1, results[1].Existing.Position)
		written, err := s.InsertMessages(t.Context(), []store.Message{message(1), message(2), message(1)})
		require.NoError(t, err)
		require.Equal(t, []bool{true, true, false}, written)
	}},
	{"entries are read back as they were written, within the bounds, in order", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		hole := entry("bob", 5, 50)
		hole.Kind, hole.WrappedKey, hole.KeyVersion, hole.Digest = store.Hole, "", 0, store.Digest{}
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
			entries = append(entries, old(p+1, p+1 != 5)) // one was written later than its neighbours: it is left
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
		erased.Content, erased.IV, erased.Recipients, erased.Erased = "", "", nil, true
		require.Equal(t, map[store.MessageID]store.Message{id(2): lasting, id(3): erased, id(4): none}, messages)
		decided, err := s.Decided(t.Context(), ids)
		require.NoError(t, err)
		require.Equal(t, map[store.MessageID]bool{id(2): true, id(3): true, id(4): true}, decided)
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
		require.Equal(t, map[store.MessageID]bool{id(1): true, id(2): true, id(3): true}, decided)
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
	{"an entry is found by its message, in its own inbox alone", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		want := entry("bob", 4, 1)
		insert(t, s, want, entry("bob", 5, 2))
		got, err := s.Entry(t.Context(), "bob", id(1))
		require.NoError(t, err)
		require.Equal(t, []store.Entry{want}, []store.Entry{got})
		for _, c := range []struct {
			user    string
			message int
		}{{"carol", 1}, {"bob", 3}} {
			_, err := s.Entry(t.Context(), c.user, id(c.message))
			require.ErrorIs(t, err, store.ErrNotFound)
			require.ErrorIs(t, s.MarkRead(t.Context(), c.user, id(c.message), now()), store.ErrNotFound)
		}
	}},
	{"the first reading counts, whoever comes later", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		insert(t, s, entry("bob", 1, 1))
		first := now().Add(-time.Hour)
		require.NoError(t, s.MarkRead(t.Context(), "bob", id(1), first))
		together(writers, func(i int) {
			require.NoError(t, s.MarkRead(t.Context(), "bob", id(1), first.Add(time.Duration(i+1)*time.Second)))
		})
		got, err := s.Entry(t.Context(), "bob", id(1))
		require.NoError(t, err)
		require.Equal(t, first, got.ReadAt)
	}},
	{"receipts tell of those asked about for each message, once they are read", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		insert(t, s, entry("bob", 1, 1), entry("bob", 2, 2), entry("carol", 1, 1), entry("dave", 1, 1))
		at := now()
		require.NoError(t, s.MarkRead(t.Context(), "bob", id(1), at))
		require.NoError(t, s.MarkRead(t.Context(), "bob", id(2), at))
		require.NoError(t, s.MarkRead(t.Context(), "dave", id(1), at))
		bob := store.ReadReceipt{Message: id(1), User: "bob", ReadAt: at}
		for _, c := range []struct {
			asked map[store.MessageID][]string
			want  []store.ReadReceipt
		}{
			{map[store.MessageID][]string{id(1): {"bob", "carol"}}, []store.ReadReceipt{bob}},
			{map[store.MessageID][]string{id(1): {"bob", "carol"}, id(2): {"carol", "dave"}, id(3): {"bob"}}, []store.ReadReceipt{bob}},
			{map[store.MessageID][]string{id(1): {"dave"}, id(2): {"bob"}},
				[]store.ReadReceipt{{Message: id(1), User: "dave", ReadAt: at}, {Message: id(2), User: "bob", ReadAt: at}}},
			{map[store.MessageID][]string{id(1): nil}, nil},
			{nil, nil},
		} {
			got, err := s.Receipts(t.Context(), c.asked)
			require.NoError(t, err)
			require.ElementsMatch(t, c.want, got)
		}
	}},
	{"receipts of many messages to many are told in one call", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		const messages, readers = 50, 120
		at := now()
		asked := map[store.MessageID][]string{}
		var entries []store.Entry
		for m := range messages {
			for r := range readers {
				user := fmt.Sprint("user", r)
				asked[id(m)] = append(asked[id(m)], user)
				e := entry(user, int64(m+1), m)
				if (m+r)%3 == 0 {
					e.ReadAt = at
				}
				entries = append(entries, e)
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
		results, err := s.InsertEntries(t.Context(), []store.Entry{entry("bob", 1, 2)})
		require.NoError(t, err)
		require.True(t, results[0].PositionTaken)
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
