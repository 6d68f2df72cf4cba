package pebble

import (
	"context"
	"errors"
	"math"
	"time"

	engine "github.com/cockroachdb/pebble/v2"

	"github.com/sealpost/sealpost/pkg/store"
)

const (
	// purgeBatch is how many rows of a kind one turn of Purge removes, so that writers never wait for long.
	purgeBatch = 500
	// purgeTime is when a turn that looks into inboxes ends: each may have to be read from the disk.
	purgeTime = 10 * time.Millisecond
	// lookahead is how many entries of an inbox that are not due Purge passes in search of one that is. Entries become due in order of
	// position, except for those written at about the same time. What is further behind goes when they do: they have their own row.
	lookahead = 16
	// flushAfter is after how many removed rows Purge triggers a flush: removals free no space while they are only in the log.
	flushAfter = 1000
)

// Purge removes what is past its time, erases the contents of expired messages, and returns how many rows it removed, without contents.
// Other writes run between its steps. The space is freed when Pebble has compacted the tables, with those that
// are written next; that of contents mostly sooner.
//
// Its writes are not synced: what a power failure undoes is still due.
func (s *Store) Purge(ctx context.Context, now time.Time) (removed int64, err error) {
	ms := millis(now)
	erased := false
	purgeMessages := func(t *turn, now int64) (int, error) { return s.purgeMessages(t, now, &erased) }
	reached := map[string]int64{}
	purgeEntries := func(t *turn, now int64) (int, error) { return s.purgeEntries(t, now, reached) }
	for _, step := range []func(t *turn, now int64) (int, error){purgeMessages, purgeEntries, s.purgeSessions, s.purgeRevocations} {
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

// purgeAll repeats a step until nothing is left to do.
func (s *Store) purgeAll(ctx context.Context, step func(t *turn) (int, error)) (removed int64, err error) {
	for {
		n, left := 0, false
		err := s.observed(ctx, "purge", func() error {
			return s.do(ctx, false, func(t *turn) (err error) { // even on a nearly full disk
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

// due passes the keys of a table whose moment is at most now to f, at most purgeBatch of them, and removes them.
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

// purgeMessages erases all expired contents at once, and removes messages.
func (s *Store) purgeMessages(t *turn, now int64, erased *bool) (removed int, err error) {
	if err := s.eraseContents(t, now, erased); err != nil {
		return 0, err
	}
	removed, err = t.due(tableMessagePurge, now, func(id []byte) error {
		return t.batch.Delete(headerKey(nil, store.MessageID(id)), nil)
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

// purgeEntries removes entries of the inboxes that have some due. reached is shared by the turns of one Purge: where the next turn
// continues in inboxes for which one turn was not enough. Skipping removed rows is slow until tables are merged.
func (s *Store) purgeEntries(t *turn, now int64, reached map[string]int64) (removed int, err error) {
	bounds := span{from: []byte{tableEntryPurge}, to: appendMoment([]byte{tableEntryPurge}, min(now, math.MaxInt64-1)+1)}
	entries, err := s.iterate(prefixSpan([]byte{tableEntries}))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, entries.Close()) }()
	next := map[string]int64{} // when the next entry of each inbox that this turn looked into is due
	var last []byte
	var again [][]byte
	passed, begun := 0, time.Now()
	err = s.walk(context.Background(), bounds, func(key, _ []byte) (more bool, err error) {
		due, user := dueAndUser(key)
		if _, known := next[user]; !known {
			n, at, err := s.purgeInbox(t, entries, user, now, purgeBatch-removed, reached)
			if err != nil {
				return false, err
			}
			removed += n
			next[user] = at
		}
		if s.notePurged(user, due, next[user], now) {
			again = append(again, entryPurgeKey(nil, next[user], user))
		}
		last = append(last[:0], key...)
		passed++
		return removed < purgeBatch && passed < purgeBatch && time.Since(begun) < purgeTime, nil
	})
	if err != nil || passed == 0 {
		return 0, err
	}
	if err := t.batch.DeleteRange(bounds.from, append(last, 0), nil); err != nil {
		return 0, err
	}
	for _, key := range again {
		if err := t.batch.Set(key, nil, nil); err != nil {
			return 0, err
		}
	}
	return removed, nil
}

// purgeInbox removes up to most entries from the old end of an inbox, and returns when the next one is due.
func (s *Store) purgeInbox(t *turn, rows *engine.Iterator, user string, now int64, most int, reached map[string]int64) (removed int, next int64, err error) {
	var highest int64
	next = math.MaxInt64
	prefix := namePrefix(tableEntries, user)
	from := prefix
	if position, known := reached[user]; known {
		from = entryKey(nil, user, position)
		delete(reached, user)
	}
	passed := 0
	for ok := rows.SeekGE(from); ok && passed < lookahead && hasPrefix(rows.Key(), prefix); ok = rows.Next() {
		value, err := rows.ValueAndErr()
		if err != nil {
			return 0, 0, err
		}
		e, err := decodeTimes(value)
		if err != nil {
			return 0, 0, broken(tableEntries, err)
		}
		due, position := millis(e.PurgeAt), positionOf(rows.Key())
		if due > now {
			next = min(next, due)
			passed++
			continue
		}
		if removed == most {
			next = min(next, due)
			if passed == 0 {
				reached[user] = position
			}
			break
		}
		removed++
		highest = max(highest, position)
		if err := t.batch.DeleteSized(rows.Key(), uint32(len(value)), nil); err != nil {
			return 0, 0, err
		}
	}
	if err := rows.Error(); err != nil || removed == 0 {
		return 0, next, err
	}
	return removed, next, s.noteRemoved(t, user, highest)
}

// noteRemoved keeps the tail of an inbox from going back.
func (s *Store) noteRemoved(t *turn, user string, position int64) error {
	before, err := s.removed(user)
	if err != nil || position <= before {
		return err
	}
	return t.batch.Set(nameKey(tableTails, user), appendNumber(nil, position), nil)
}

// notePurged reports whether a row that was handled must be replaced by one for what is due next: if that is due by now or on the same day.
// What is due on another day has its own row.
func (s *Store) notePurged(user string, due, next, now int64) bool {
	again := next <= now || dayOf(next) == dayOf(due)
	if in, known := s.inboxes.get(user); known && in.due != unknown && dayOf(in.due) == dayOf(due) {
		if in.due = next; !again {
			in.due = unknown
		}
		s.inboxes.put(in)
	}
	return again
}

// purgeSessions removes expired sessions.
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
