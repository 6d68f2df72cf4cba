package pebble

import (
	"context"
	"math"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

const (
	// purgeBatch is how many rows of a kind one turn of Purge removes, so that writers never wait for long.
	purgeBatch = 500
	// lookahead is how many entries of an inbox that are not due are passed in search of one that is. They go in order of position but for
	// those that were written at about the same time.
	lookahead = 128
	// flushAfter is from how many removed rows on Purge asks Pebble to make use of what it was told: what was removed gives no space back
	// while that stands in the log alone.
	flushAfter = 1000
)

// Purge removes what has passed its time, erases the contents of the messages that have expired, and returns how many rows it removed,
// contents not counted. Others write between its steps. The space is given back when Pebble has compacted the tables, soon after.
//
// Its writes are not synced: what a power failure undoes is due still.
func (s *Store) Purge(ctx context.Context, now time.Time) (removed int64, err error) {
	ms := millis(now)
	erased := false
	purgeMessages := func(t *turn, now int64) (int, error) { return s.purgeMessages(t, now, &erased) }
	for _, step := range []func(t *turn, now int64) (int, error){purgeMessages, s.purgeEntries, s.purgeSessions, s.purgeRevocations} {
		n, err := s.purgeAll(ctx, func(t *turn) (int, error) { return step(t, ms) })
		removed += n
		if err != nil {
			return removed, err
		}
	}
	if erased || removed >= flushAfter {
		err = s.read(ctx, "purge", func() error {
			_, err := s.db.AsyncFlush()
			return err
		})
	}
	return removed, err
}

// purgeAll repeats a step until there is nothing left to do.
func (s *Store) purgeAll(ctx context.Context, step func(t *turn) (int, error)) (removed int64, err error) {
	for {
		n, left := 0, false
		err := s.observed(ctx, "purge", func() error {
			return s.do(ctx, false, func(t *turn) (err error) { // also on a disk that is nearly full
				n, err = step(t)
				left = !t.batch.Empty()
				return err
			})
		})
		removed += int64(n)
		if err != nil || !left {
			return removed, err
		}
	}
}

// due walks the keys of a table that begin with a moment up to now, at most purgeBatch, and removes them.
func (t *turn) due(table byte, now int64, f func(rest []byte) error) (n int, err error) {
	bounds := span{from: []byte{table}, to: appendMoment([]byte{table}, min(now, math.MaxInt64-1)+1)}
	var last []byte
	err = t.s.walk(context.Background(), bounds, func(key, _ []byte) (more bool, err error) {
		n++
		last = append(last[:0], key...)
		return n < purgeBatch, f(key[1+momentLen:])
	})
	if err != nil || n == 0 {
		return 0, err
	}
	return n, t.batch.DeleteRange(bounds.from, append(last, 0), nil)
}

// purgeMessages erases the contents of what has expired, all at once, and removes messages.
func (s *Store) purgeMessages(t *turn, now int64, erased *bool) (removed int, err error) {
	if err := s.eraseContents(t, now, erased); err != nil {
		return 0, err
	}
	removed, err = t.due(tableMessagePurge, now, func(id []byte) error {
		key := headerKey(nil, store.MessageID(id))
		var size int
		_, err := s.look(key, func(value []byte) error {
			size = len(value)
			return nil
		})
		if err != nil {
			return err
		}
		return t.batch.DeleteSized(key, uint32(size), nil)
	})
	return removed, err
}

func (s *Store) eraseContents(t *turn, now int64, erased *bool) error {
	bounds := span{from: []byte{tableContents}, to: appendMoment([]byte{tableContents}, min(now, math.MaxInt64-1)+1)}
	rows, err := s.iterate(bounds)
	if err != nil {
		return err
	}
	var first []byte
	if rows.First() {
		first = append(first, rows.Key()...)
	}
	if err := rows.Error(); err != nil {
		_ = rows.Close()
		return err
	}
	if err := rows.Close(); err != nil || first == nil {
		return err
	}
	*erased = true
	return t.batch.DeleteRange(first, bounds.to, nil)
}

// purgeEntries removes entries of the inboxes that have some to be removed.
func (s *Store) purgeEntries(t *turn, now int64) (removed int, err error) {
	bounds := span{from: []byte{tableEntryPurge}, to: entryPurgeKey(nil, dayOf(now), "")}
	bounds.to = after(bounds.to)
	seen := 0
	err = s.walk(context.Background(), bounds, func(key, value []byte) (more bool, err error) {
		at, err := number(value)
		if err != nil || at > now {
			return true, broken(tableEntryPurge, err)
		}
		day, user := dayAndUser(key)
		n, err := s.purgeInbox(t, day, user, now, purgeBatch-removed)
		removed += n
		seen++
		return removed < purgeBatch && seen < purgeBatch, err
	})
	return removed, err
}

// purgeInbox removes up to most entries from the old end of an inbox, on account of a day on which some are due.
func (s *Store) purgeInbox(t *turn, day int32, user string, now int64, most int) (removed int, err error) {
	var highest int64
	next, passed := int64(math.MaxInt64), 0
	prefix := namePrefix(tableEntries, user)
	err = s.walk(context.Background(), prefixSpan(prefix), func(key, value []byte) (more bool, err error) {
		f, err := decodeFate(value)
		switch {
		case err != nil:
			return false, broken(tableEntries, err)
		case f.purgeAt > now:
			next = min(next, f.purgeAt)
			passed++
			return passed < lookahead, nil
		case removed == most:
			next = f.purgeAt
			return false, nil
		}
		removed++
		highest = max(highest, positionOf(key))
		if err := t.batch.DeleteSized(key, uint32(len(value)), nil); err != nil {
			return false, err
		}
		return true, t.batch.Delete(placeKey(nil, f.message, user), nil)
	})
	if err == nil && removed > 0 {
		err = s.noteRemoved(t, user, highest)
	}
	if err != nil {
		return 0, err
	}
	return removed, s.notePurged(t, day, user, next, now)
}

// noteRemoved keeps the tail of an inbox from going back.
func (s *Store) noteRemoved(t *turn, user string, position int64) error {
	before, err := s.removed(user)
	if err != nil || position <= before {
		return err
	}
	return t.batch.Set(nameKey(tableTails, user), appendNumber(nil, position), nil)
}

// notePurged notes when an inbox is to be looked at again: when the next entry is due that was found, or, if that is none of the day,
// on account of its own day.
func (s *Store) notePurged(t *turn, day int32, user string, next, now int64) error {
	key := entryPurgeKey(nil, day, user)
	known := s.owners.get(user)
	if next > now && dayOf(next) != day {
		if known != nil && known.day == day {
			known.day = math.MinInt32
		}
		return t.batch.Delete(key, nil)
	}
	if known != nil && known.day == day {
		known.due = next
	}
	return t.batch.Set(key, appendNumber(nil, next), nil)
}

// purgeSessions forgets sessions.
func (s *Store) purgeSessions(t *turn, now int64) (int, error) {
	return t.due(tableSessionExpiry, now, func(rest []byte) error {
		return t.batch.Delete(append([]byte{tableSessions}, rest...), nil)
	})
}

func (s *Store) purgeRevocations(t *turn, now int64) (int, error) {
	return t.due(tableRevocationExpiry, now, func(rest []byte) error {
		return t.batch.Delete(append([]byte{tableRevocations}, rest...), nil)
	})
}
