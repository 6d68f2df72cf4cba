package pebble

import (
	"context"
	"errors"
	"math"
	"time"

	engine "github.com/cockroachdb/pebble/v2"

	"github.com/sealpost/sealpost/pkg/store"
)

// span is a range of keys: including from, excluding to.
type span struct{ from, to []byte }

// prefixSpan returns the span of the keys with a prefix.
func prefixSpan(prefix []byte) span { return span{from: prefix, to: after(prefix)} }

func (s *Store) iterate(bounds span) (*engine.Iterator, error) {
	return s.db.NewIter(&engine.IterOptions{LowerBound: bounds.from, UpperBound: bounds.to})
}

// looksAt is how many rows a long read takes between checks of its context.
const looksAt = 64

// walk passes the rows of a range to f, in order, until f stops it. f must not keep its arguments.
func (s *Store) walk(ctx context.Context, bounds span, f func(key, value []byte) (more bool, err error)) error {
	rows, err := s.iterate(bounds)
	if err != nil {
		return err
	}
	return errors.Join(walk(ctx, rows, f), rows.Close())
}

func walk(ctx context.Context, rows *engine.Iterator, f func(key, value []byte) (more bool, err error)) error {
	n := 0
	for ok := rows.First(); ok; ok = rows.Next() {
		if n++; n%looksAt == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		value, err := rows.ValueAndErr()
		if err != nil {
			return err
		}
		if more, err := f(rows.Key(), value); err != nil || !more {
			return err
		}
	}
	return rows.Error()
}

// many calls f for 0 … n-1, until ctx ends.
func many(ctx context.Context, n int, f func(i int) error) error {
	for i := range n {
		if i%looksAt == looksAt-1 && ctx.Err() != nil {
			return ctx.Err()
		}
		if err := f(i); err != nil {
			return err
		}
	}
	return nil
}

// Messages implements store.Log.
func (s *Store) Messages(ctx context.Context, ids []store.MessageID) (map[store.MessageID]store.Message, error) {
	found := make(map[store.MessageID]store.Message, len(ids))
	err := s.read(ctx, "messages", func() error {
		return many(ctx, len(ids), func(i int) error {
			m, there, err := s.message(ctx, ids[i])
			if there {
				found[ids[i]] = m
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// message reads the message of an id: its header, and its content if that has not been erased.
func (s *Store) message(ctx context.Context, id store.MessageID) (m store.Message, found bool, err error) {
	var flags byte
	var buf [maxKey]byte
	found, err = s.look(headerKey(buf[:0], id), func(value []byte) (err error) {
		m, flags, err = decodeHeader(id, value)
		return broken(tableMessages, err)
	})
	if err == nil && found && flags&flagContent != 0 {
		var whole bool
		expires := millis(m.ExpiresAt)
		whole, err = s.look(contentKey(buf[:0], expires, id), func(value []byte) (err error) {
			m, err = decodeContent(id, value)
			return broken(tableContents, err)
		})
		m.Erased = !whole
	}
	if err == nil && found {
		err = s.awaitMessage(ctx, id)
	}
	return m, found && err == nil, err
}

// maxKey is the size of the longest key without a name.
const maxKey = 1 + momentLen + idLen + 1

// MessagesOf implements store.Log. An entry's ExpiresAt locates the content, unless another attempt than the entry's committed the message.
func (s *Store) MessagesOf(ctx context.Context, entries []store.Entry) (map[store.MessageID]store.Message, error) {
	found := make(map[store.MessageID]store.Message, len(entries))
	err := s.read(ctx, "messages", func() error {
		var buf [maxKey]byte
		return many(ctx, len(entries), func(i int) error {
			e := &entries[i]
			if _, known := found[e.Message]; known || e.Kind == store.Hole {
				return nil
			}
			var m store.Message
			there, err := s.look(contentKey(buf[:0], millis(e.ExpiresAt), e.Message), func(value []byte) (err error) {
				m, err = decodeContent(e.Message, value)
				return broken(tableContents, err)
			})
			switch {
			case err != nil:
				return err
			case there:
				err = s.awaitMessage(ctx, e.Message)
			default:
				m, there, err = s.message(ctx, e.Message)
			}
			if there && err == nil {
				found[e.Message] = m
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Decided implements store.Log.
func (s *Store) Decided(ctx context.Context, ids []store.MessageID) (map[store.MessageID]time.Time, error) {
	decided := make(map[store.MessageID]time.Time, len(ids))
	err := s.read(ctx, "decided", func() error {
		var buf [maxKey]byte
		var kept time.Time
		decode := func(value []byte) (err error) {
			kept, err = decodeKept(value)
			return broken(tableMessages, err)
		}
		return many(ctx, len(ids), func(i int) error {
			there, err := s.look(headerKey(buf[:0], ids[i]), decode)
			if err == nil && there {
				err = s.awaitMessage(ctx, ids[i])
			}
			if err == nil && there {
				decided[ids[i]] = kept
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return decided, nil
}

// expectEntries bounds the capacity allocated up front for entries.
const expectEntries = 256

// Entries implements store.Log.
func (s *Store) Entries(ctx context.Context, user string, after, upTo int64) ([]store.Entry, error) {
	if after = max(after, -1); upTo <= after || after == math.MaxInt64 {
		return nil, unavailable(ctx.Err())
	}
	var entries []store.Entry
	err := s.read(ctx, "entries", func() error {
		bounds := span{from: entryKey(nil, user, after+1)}
		if bounds.to = entryKey(nil, user, upTo); upTo < math.MaxInt64 {
			bounds.to = entryKey(nil, user, upTo+1)
		}
		err := s.walk(ctx, bounds, func(key, value []byte) (more bool, err error) {
			if entries == nil {
				entries = make([]store.Entry, 0, min(upTo-after, expectEntries))
			}
			e, err := decodeEntry(user, positionOf(key), value)
			entries = append(entries, e)
			return true, broken(tableEntries, err)
		})
		if err != nil {
			return err
		}
		return s.awaitRow(ctx, namePrefix(tableEntries, user))
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// FirstAfter implements store.Log.
func (s *Store) FirstAfter(ctx context.Context, user string, after int64) (first int64, err error) {
	if after == math.MaxInt64 {
		return 0, unavailable(ctx.Err())
	}
	err = s.read(ctx, "first_after", func() error {
		bounds := prefixSpan(namePrefix(tableEntries, user))
		if after >= 0 {
			bounds.from = entryKey(nil, user, after+1)
		}
		return s.walk(ctx, bounds, func(key, _ []byte) (more bool, err error) {
			first = positionOf(key)
			return false, nil
		})
	})
	if err != nil {
		return 0, err
	}
	return first, nil
}

// Tails implements store.Log. Retention removes entries from the old end of an inbox, in order except for entries written at about the same
// time. So Removed must be below the lowest remaining entry.
func (s *Store) Tails(ctx context.Context, users []string) (map[string]store.Tail, error) {
	tails := make(map[string]store.Tail, len(users))
	err := s.read(ctx, "tails", func() error {
		rows, err := s.iterate(prefixSpan([]byte{tableEntries}))
		if err != nil {
			return err
		}
		err = many(ctx, len(users), func(i int) error {
			tail, err := s.tail(rows, users[i])
			tails[users[i]] = tail
			return err
		})
		return errors.Join(err, rows.Close())
	})
	if err != nil {
		return nil, err
	}
	return tails, nil
}

func (s *Store) tail(rows *engine.Iterator, user string) (tail store.Tail, err error) {
	if tail.Removed, err = s.removed(user); err != nil {
		return tail, err
	}
	tail.Position = tail.Removed
	prefix := namePrefix(tableEntries, user)
	highest, err := highest(rows, prefix)
	if err != nil || highest < 0 {
		return tail, err
	}
	tail.Position = max(tail.Position, highest)
	if tail.Removed > 0 && rows.SeekGE(prefix) {
		tail.Removed = min(tail.Removed, positionOf(rows.Key())-1)
	}
	return tail, rows.Error()
}

// highest returns the highest position of the inbox with a prefix, or -1.
func highest(rows *engine.Iterator, prefix []byte) (int64, error) {
	if rows.SeekLT(after(prefix)) && hasPrefix(rows.Key(), prefix) {
		return positionOf(rows.Key()), nil
	}
	return -1, rows.Error()
}

func hasPrefix(key, prefix []byte) bool {
	return len(key) >= len(prefix) && string(key[:len(prefix)]) == string(prefix)
}

// removed returns the highest position that was removed from an inbox.
func (s *Store) removed(user string) (position int64, err error) {
	_, err = s.look(nameKey(tableTails, user), func(value []byte) error {
		position, err = number(value)
		return err
	})
	return position, err
}

// EntriesAt implements store.Log.
func (s *Store) EntriesAt(ctx context.Context, places []store.Place) ([]store.Entry, error) {
	entries := make([]store.Entry, 0, len(places))
	err := s.read(ctx, "entries_at", func() error {
		return s.at(ctx, places, func(place store.Place, value []byte) error {
			e, err := decodeEntry(place.User, place.Position, value)
			entries = append(entries, e)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

// at passes the entries at places to f, and waits until they are durable. f must not keep its argument.
func (s *Store) at(ctx context.Context, places []store.Place, f func(place store.Place, value []byte) error) error {
	var key []byte
	var place store.Place
	hand := func(value []byte) error { return broken(tableEntries, f(place, value)) }
	return many(ctx, len(places), func(i int) error {
		place = places[i]
		key = entryKey(key[:0], place.User, place.Position)
		there, err := s.look(key, hand)
		if err != nil || !there {
			return err
		}
		return s.awaitRow(ctx, inboxOf(key))
	})
}

// MarkRead implements store.Log.
func (s *Store) MarkRead(ctx context.Context, place store.Place, at time.Time) error {
	seen, err := s.EntriesAt(ctx, []store.Place{place}) // loads the row into the cache, so that the turn need not read the disk
	switch {
	case err != nil:
		return err
	case len(seen) == 0:
		return store.ErrNotFound
	case !seen[0].ReadAt.IsZero():
		return nil
	}
	return s.write(ctx, "mark_read", func(t *turn) error {
		key := entryKey(nil, place.User, place.Position)
		var e store.Entry
		there, err := s.look(key, func(value []byte) (err error) {
			e, err = decodeEntry(place.User, place.Position, value)
			return broken(tableEntries, err)
		})
		switch {
		case err != nil:
			return err
		case !there:
			return store.ErrNotFound
		case !e.ReadAt.IsZero():
			t.dependsOn(s.syncs.row(inboxOf(key)))
			return nil
		}
		e.ReadAt = at
		t.marks = append(t.marks, string(inboxOf(key)))
		return t.batch.Set(key, appendEntry(nil, &e), nil)
	})
}

// Receipts implements store.Log.
func (s *Store) Receipts(ctx context.Context, places []store.Place) (map[store.Place]time.Time, error) {
	receipts := make(map[store.Place]time.Time, len(places))
	err := s.read(ctx, "receipts", func() error {
		return s.at(ctx, places, func(place store.Place, value []byte) error {
			e, err := decodeTimes(value)
			if !e.ReadAt.IsZero() {
				receipts[place] = e.ReadAt
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return receipts, nil
}
