package storetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

// committer returns the store's store.Committer. Tests of stores without one are skipped.
func committer(t *testing.T, s store.Store) store.Committer {
	t.Helper()
	c, ok := s.(store.Committer)
	if !ok {
		t.Skip("this store writes entries and messages one after the other")
	}
	return c
}

// send makes message n with an entry for each user, all at the same position.
func send(n int, position int64, users ...string) store.Send {
	one := store.Send{Message: message(n)}
	for _, user := range users {
		one.Entries = append(one.Entries, entry(user, position, n))
	}
	return one
}

func commit(t *testing.T, s store.Store, sends ...store.Send) []store.SendResult {
	t.Helper()
	results, err := committer(t, s).Commit(t.Context(), sends)
	require.NoError(t, err)
	require.Len(t, results, len(sends))
	for i, r := range results {
		if r.Taken != nil {
			require.Len(t, r.Taken, len(sends[i].Entries))
		}
	}
	return results
}

var written = store.SendResult{Written: true}

// requireSend requires that a send is written whole, or not at all.
func requireSend(t *testing.T, s store.Store, one store.Send, stands bool) {
	t.Helper()
	found, err := s.Messages(t.Context(), []store.MessageID{one.Message.ID})
	require.NoError(t, err)
	got, there := found[one.Message.ID]
	require.Equal(t, stands, there && got.Content == one.Message.Content, "the message")
	for _, want := range one.Entries {
		got, err := s.Entries(t.Context(), want.User, want.Position-1, want.Position)
		require.NoError(t, err)
		require.Equal(t, stands, len(got) == 1 && got[0].Message == want.Message && got[0].WrappedKey == want.WrappedKey, "the entry of %s", want.User)
	}
}

var commitTests = []test{
	{"a send is read back as it was written, across a restart", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		sends := []store.Send{send(1, 1, "bob", "carol"), send(2, 2, "bob"), {Message: message(3)}}
		require.Equal(t, []store.SendResult{written, written, written}, commit(t, s, sends...))
		for range 2 {
			got, err := s.Entries(t.Context(), "bob", 0, 10)
			require.NoError(t, err)
			require.Equal(t, []store.Entry{sends[0].Entries[0], sends[1].Entries[0]}, got)
			found, err := s.Messages(t.Context(), []store.MessageID{id(1), id(2), id(3)})
			require.NoError(t, err)
			require.Equal(t, map[store.MessageID]store.Message{id(1): sends[0].Message, id(2): sends[1].Message, id(3): sends[2].Message}, found)
			of, err := s.MessagesOf(t.Context(), got)
			require.NoError(t, err)
			require.Equal(t, map[store.MessageID]store.Message{id(1): sends[0].Message, id(2): sends[1].Message}, of)
			s = a.Reopen(t, s)
		}
		require.Empty(t, commit(t, s))
	}},
	{"a send whose id is in use, by a message or a tombstone, writes nothing", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		commit(t, s, send(1, 1, "bob"))
		_, err := s.InsertMessages(t.Context(), []store.Message{{ID: id(2), Tombstone: true, CreatedAt: now(), ExpiresAt: now().Add(time.Hour), PurgeAt: now().Add(time.Hour)}})
		require.NoError(t, err)
		again, dead := send(1, 5, "carol"), send(2, 5, "carol")
		again.Message.Content = "other"
		results := commit(t, s, again, dead, send(3, 6, "carol"))
		require.Equal(t, []store.SendResult{{Decided: true}, {Decided: true}, written}, results)
		requireSend(t, s, again, false)
		requireSend(t, s, dead, false)
		requireSend(t, s, send(3, 6, "carol"), true)
	}},
	{"a send of which one entry is refused writes nothing, and tells which", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		insert(t, s, entry("bob", 1, 9), entry("dave", 8, 1))
		refused := send(1, 3, "carol", "dave")
		refused.Entries = append(refused.Entries, entry("bob", 1, 1))
		results := commit(t, s, refused, send(2, 2, "bob", "carol"))
		require.Equal(t, []store.SendResult{{Taken: []bool{false, false, true}}, written}, results)
		for _, user := range []string{"carol", "dave"} {
			got, err := s.Entries(t.Context(), user, 0, 10)
			require.NoError(t, err)
			require.Len(t, got, 1)
		}
		decided, err := s.Decided(t.Context(), []store.MessageID{id(1)})
		require.NoError(t, err)
		require.Empty(t, decided)
	}},
	{"what another attempt has left in an inbox is in nobody's way but at its position", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		left := entry("bob", 4, 1)
		insert(t, s, left)
		again := send(1, 5, "bob", "carol")
		require.Equal(t, []store.SendResult{written}, commit(t, s, again))
		got, err := s.Entries(t.Context(), "bob", 0, 10)
		require.NoError(t, err)
		require.Equal(t, []store.Entry{left, again.Entries[0]}, got)
		require.Equal(t, []store.SendResult{{Decided: true, Taken: []bool{true, true}}}, commit(t, s, again))
	}},
	{"of sends in one call that are in each other's way, the first is written", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		first, position, same := send(1, 1, "bob", "carol"), send(2, 1, "bob", "dave"), send(1, 2, "dave")
		results := commit(t, s, first, position, same, send(3, 2, "bob", "dave"))
		require.Equal(t, []store.SendResult{written, {Taken: []bool{true, false}}, {Decided: true}, written}, results)
		requireSend(t, s, first, true)
		requireSend(t, s, position, false)
		got, err := s.Entries(t.Context(), "dave", 0, 10)
		require.NoError(t, err)
		require.Len(t, got, 1)
		require.Equal(t, id(3), got[0].Message)
	}},
	{"of many sends at one position, and of many of one id, one is written, whichever way the others come", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		committer(t, s)
		var atPosition, ofID atomic.Int64
		together(writers, func(i int) {
			mine := send(100+i, 1, "bob")
			if i%2 == 0 {
				if commit(t, s, mine)[0].Written {
					atPosition.Add(1)
				}
			} else {
				done, err := s.InsertEntries(t.Context(), mine.Entries)
				require.NoError(t, err)
				if done[0] {
					atPosition.Add(1)
				}
			}
			same := send(1, int64(i+1), fmt.Sprint("user", i))
			if i%2 == 0 {
				if commit(t, s, same)[0].Written {
					ofID.Add(1)
				}
				return
			}
			done, err := s.InsertMessages(t.Context(), []store.Message{same.Message})
			require.NoError(t, err)
			if done[0] {
				ofID.Add(1)
			}
		})
		require.EqualValues(t, 1, atPosition.Load())
		require.EqualValues(t, 1, ofID.Load())
	}},
	{"whoever reads an entry of a send finds its message, and all its other entries", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		c := committer(t, s)
		const sends = 50
		users := []string{"bob", "carol", "dave"}
		ctx, cancel := context.WithCancel(t.Context())
		together(2, func(i int) {
			if i == 0 {
				defer cancel()
				for n := range sends {
					results, err := c.Commit(t.Context(), []store.Send{send(n, int64(n+1), users...)})
					require.NoError(t, err)
					require.True(t, results[0].Written)
				}
				return
			}
			for ctx.Err() == nil {
				entries, err := s.Entries(t.Context(), "dave", 0, sends)
				require.NoError(t, err)
				ids := make([]store.MessageID, len(entries))
				for i, e := range entries {
					ids[i] = e.Message
				}
				decided, err := s.Decided(t.Context(), ids)
				require.NoError(t, err)
				require.Len(t, decided, len(ids))
				first, err := s.Entries(t.Context(), "bob", 0, sends)
				require.NoError(t, err)
				require.GreaterOrEqual(t, len(first), len(entries))
			}
		})
	}},
	{"what was committed is purged like what was inserted", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		old, young := send(1, 1, "bob", "carol"), send(2, 2, "bob")
		old.Message.ExpiresAt, old.Message.PurgeAt = now().Add(-2*time.Second), now().Add(-time.Second)
		for i := range old.Entries {
			old.Entries[i].PurgeAt = now().Add(-time.Second)
		}
		commit(t, s, old, young)
		require.NoError(t, a.Purge(t.Context(), s, now()))
		requireSend(t, s, old, false)
		requireSend(t, s, young, true)
		require.Zero(t, tailOf(t, s, "carol").Position-1)
		results := commit(t, s, send(1, 3, "bob"))
		require.Equal(t, []store.SendResult{written}, results, "an id is in use until it is purged, and no longer")
	}},
	{"a store that is closed, or whose time is over, says that it is unavailable, and has written nothing", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		c := committer(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := c.Commit(ctx, []store.Send{send(1, 1, "bob")})
		require.ErrorIs(t, err, store.ErrUnavailable)
		requireSend(t, s, send(1, 1, "bob"), false)
		require.NoError(t, s.Close())
		_, err = c.Commit(t.Context(), []store.Send{send(1, 1, "bob")})
		require.ErrorIs(t, err, store.ErrUnavailable)
	}},
	{"a send to a thousand is written whole", func(t *testing.T, a Adapter) {
		s := a.Open(t)
		users := make([]string, 1024)
		for i := range users {
			users[i] = fmt.Sprint("user", i)
		}
		require.Equal(t, []store.SendResult{written}, commit(t, s, send(1, 1, users...)))
		tails, err := s.Tails(t.Context(), users)
		require.NoError(t, err)
		require.Len(t, tails, len(users))
		require.Equal(t, []store.SendResult{{Decided: true}}, commit(t, s, send(1, 2, users...)))
	}},
}
