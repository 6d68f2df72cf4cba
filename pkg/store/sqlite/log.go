package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/sealpost/sealpost/pkg/store"
)

// InsertEntries implements store.Log.
//
// An entry counts only once its message is committed, so it need not be on the disk before. The transaction of prepared
// entries therefore ends without a sync (synchronous=NORMAL): in WAL mode it is appended to the log, and the sync of the
// message's commit, which comes after it in the same log, makes both durable at once. After a power failure the log is
// cut at some commit; a message is there only if its entries, which precede it, are. A tombstone is different: readers
// pass it as soon as it is written, so a slice that holds one is synced.
func (s *Store) InsertEntries(ctx context.Context, entries []store.Entry) ([]store.EntryResult, error) {
	var results []store.EntryResult
	together := func(ctx context.Context) error { return s.insertTogether(ctx, entries) }
	oneByOne := func(ctx context.Context) (err error) {
		results, err = s.insertOneByOne(ctx, entries)
		return err
	}
	err := s.observed(ctx, "insert_entries", func() error {
		return s.inTurn(ctx, func() error {
			if hasHole(entries) {
				return s.bulk(ctx, oneByOne)
			}
			return s.unsynced(ctx, func() error {
				err := s.bulk(ctx, together)
				if isConstraint(err) {
					return s.bulk(ctx, oneByOne) // some are refused: find out which
				}
				results = make([]store.EntryResult, len(entries))
				return err
			})
		})
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// unsynced runs transactions without the sync at their end.
func (s *Store) unsynced(ctx context.Context, f func() error) error {
	if _, err := s.writer.ExecContext(ctx, "PRAGMA synchronous=NORMAL"); err != nil {
		return unavailable(err)
	}
	err := f()
	// Even if ctx has ended meanwhile: nothing else may run unsynced.
	_, restore := s.writer.ExecContext(context.WithoutCancel(ctx), "PRAGMA synchronous=FULL")
	return errors.Join(err, unavailable(restore))
}

func hasHole(entries []store.Entry) bool {
	for _, e := range entries {
		if e.Kind == store.Hole {
			return true
		}
	}
	return false
}

// insertTogether inserts all entries, or fails: many in one statement, and sorted as the table is, so that most go beside
// the one before and SQLite need not search for their places.
func (s *Store) insertTogether(ctx context.Context, entries []store.Entry) error {
	sorted := make([]*store.Entry, len(entries))
	for i := range entries {
		sorted[i] = &entries[i]
	}
	slices.SortFunc(sorted, func(a, b *store.Entry) int {
		return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Position, b.Position))
	})
	args := make([]any, 0, entriesAtOnce*entryValues)
	for len(sorted) > 0 {
		put, n := s.stmts.insertEntries, entriesAtOnce
		if len(sorted) < entriesAtOnce {
			put, n = s.stmts.insertEntry, 1
		}
		args = args[:0]
		for _, e := range sorted[:n] {
			args = s.appendEntry(args, e)
		}
		if _, err := put.ExecContext(ctx, args...); err != nil {
			return err
		}
		sorted = sorted[n:]
	}
	return nil
}

// isConstraint reports whether a statement failed because a row of it, or of another statement, is in the way.
func isConstraint(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_CONSTRAINT
}

// insertOneByOne inserts the entries that it can, and tells what stands in the way of the others.
func (s *Store) insertOneByOne(ctx context.Context, entries []store.Entry) ([]store.EntryResult, error) {
	results := make([]store.EntryResult, len(entries))
	for i, e := range entries {
		result, err := s.insertEntry(ctx, e)
		if err != nil {
			return nil, err
		}
		results[i] = result
	}
	return results, nil
}

// appendEntry adds the values of an entry's columns.
func (s *Store) appendEntry(args []any, e *store.Entry) []any {
	return append(args, e.User, e.Position, int64(e.Kind), e.Message[:], e.Digest[:], e.WrappedKey, int64(e.KeyVersion),
		millis(e.At), nullMillis(e.ReadAt), millis(e.ExpiresAt), millis(e.PurgeAt), int64(e.Size), s.places.prepare(e.Message))
}

func (s *Store) insertEntry(ctx context.Context, e store.Entry) (store.EntryResult, error) {
	done, err := s.stmts.offerEntry.ExecContext(ctx, s.appendEntry(nil, &e)...)
	if err != nil {
		return store.EntryResult{}, err
	}
	if n, err := done.RowsAffected(); err != nil || n == 1 {
		return store.EntryResult{}, err
	}
	existing, err := scanEntry(s.stmts.entry.QueryRowContext(ctx, e.User, e.Message[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return store.EntryResult{PositionTaken: true}, nil
	}
	return store.EntryResult{Existing: &existing}, err
}

// row is what sql.Row and sql.Rows have in common.
type row interface{ Scan(dest ...any) error }

func scanEntry(r row) (store.Entry, error) {
	var e store.Entry
	var message, digest []byte
	var at, expires, purge int64
	var read sql.NullInt64
	err := r.Scan(&e.User, &e.Position, &e.Kind, &message, &digest, &e.WrappedKey, &e.KeyVersion, &at, &read, &expires, &purge, &e.Size, &e.Place)
	copy(e.Message[:], message)
	copy(e.Digest[:], digest)
	e.At, e.ExpiresAt, e.PurgeAt = fromMillis(at), fromMillis(expires), fromMillis(purge)
	if read.Valid {
		e.ReadAt = fromMillis(read.Int64)
	}
	return e, err
}

// InsertMessages implements store.Log.
func (s *Store) InsertMessages(ctx context.Context, messages []store.Message) ([]bool, error) {
	written := make([]bool, len(messages))
	insert := func(ctx context.Context) error {
		for i, m := range messages {
			recipients, err := json.Marshal(m.Recipients)
			if err != nil {
				return err
			}
			done, err := s.stmts.insertMessage.ExecContext(ctx, s.places.of(m.ID), m.ID[:], m.Sender, m.SenderKeyVersion, string(recipients), m.IV,
				m.ClientMessageID, m.Digest[:], millis(m.CreatedAt), millis(m.ExpiresAt), millis(m.PurgeAt), m.Tombstone, m.Erased, m.Content)
			if err != nil {
				return err
			}
			n, err := done.RowsAffected()
			if err != nil {
				return err
			}
			written[i] = n == 1
		}
		return nil
	}
	err := s.observed(ctx, "insert_messages", func() error {
		return s.inTurn(ctx, func() error {
			err := s.bulk(ctx, insert)
			if err == nil {
				s.places.committed(messages)
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return written, nil
}

// Messages implements store.Log.
func (s *Store) Messages(ctx context.Context, ids []store.MessageID) (map[store.MessageID]store.Message, error) {
	found := make(map[store.MessageID]store.Message, len(ids))
	err := s.each(ctx, "messages", s.stmts.messages, []any{hexList(ids)}, func(r row) error {
		m, err := scanMessage(r)
		found[m.ID] = m
		return err
	})
	return found, err
}

// Decided implements store.Log.
func (s *Store) Decided(ctx context.Context, ids []store.MessageID) (map[store.MessageID]bool, error) {
	decided := make(map[store.MessageID]bool, len(ids))
	err := s.each(ctx, "decided", s.stmts.decided, []any{hexList(ids)}, func(r row) error {
		var id []byte
		err := r.Scan(&id)
		decided[store.MessageID(id)] = err == nil
		return err
	})
	return decided, err
}

func scanMessage(r row) (store.Message, error) {
	var m store.Message
	var id, digest []byte
	var recipients string
	var created, expires, purge int64
	err := r.Scan(&id, &m.Sender, &m.SenderKeyVersion, &recipients, &m.IV, &m.ClientMessageID, &digest, &created, &expires, &purge, &m.Tombstone, &m.Erased, &m.Content)
	if err != nil {
		return m, err
	}
	copy(m.ID[:], id)
	copy(m.Digest[:], digest)
	m.CreatedAt, m.ExpiresAt, m.PurgeAt = fromMillis(created), fromMillis(expires), fromMillis(purge)
	return m, json.Unmarshal([]byte(recipients), &m.Recipients)
}

// hexList makes of ids the JSON array that the statements take.
func hexList(ids []store.MessageID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	return list(texts)
}

func list[T string | int64](values []T) string {
	if len(values) == 0 {
		return "[]" // nil would be null, which json_each takes for one value
	}
	text, _ := json.Marshal(values) // strings and numbers: it cannot fail
	return string(text)
}

// each runs a query and hands every row to f.
func (s *Store) each(ctx context.Context, operation string, stmt *sql.Stmt, args []any, f func(r row) error) error {
	return s.observed(ctx, operation, func() error { return scanAll(ctx, stmt, args, f) })
}

// first runs a query of one row and hands it to f.
func (s *Store) first(ctx context.Context, operation string, stmt *sql.Stmt, args []any, f func(r row) error) error {
	return s.observed(ctx, operation, func() error { return unavailable(f(stmt.QueryRowContext(ctx, args...))) })
}

func scanAll(ctx context.Context, stmt *sql.Stmt, args []any, f func(r row) error) error {
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := f(rows); err != nil {
			return unavailable(err)
		}
	}
	return unavailable(rows.Err())
}

// Entries implements store.Log.
func (s *Store) Entries(ctx context.Context, user string, after, upTo int64) ([]store.Entry, error) {
	var entries []store.Entry
	err := s.each(ctx, "entries", s.stmts.entries, []any{user, after, upTo}, func(r row) error {
		e, err := scanEntry(r)
		entries = append(entries, e)
		return err
	})
	return entries, err
}

// FirstAfter implements store.Log.
func (s *Store) FirstAfter(ctx context.Context, user string, after int64) (int64, error) {
	var first int64
	err := s.first(ctx, "first_after", s.stmts.firstAfter, []any{user, after}, func(r row) error { return r.Scan(&first) })
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return first, err
}

// Tails implements store.Log. Retention removes entries by the time of their writing, which is the order of their positions but
// for those that were written at about the same time: what has been removed reaches no further than to the lowest that is left.
func (s *Store) Tails(ctx context.Context, users []string) (map[string]store.Tail, error) {
	tails := make(map[string]store.Tail, len(users))
	err := s.each(ctx, "tails", s.stmts.tails, []any{list(users)}, func(r row) error {
		var user string
		var highest, lowest sql.NullInt64
		var removed int64
		if err := r.Scan(&user, &highest, &lowest, &removed); err != nil {
			return err
		}
		tail := store.Tail{Position: max(highest.Int64, removed), Removed: removed}
		if lowest.Valid {
			tail.Removed = min(removed, lowest.Int64-1)
		}
		tails[user] = tail
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tails, nil
}

// Entry implements store.Log.
func (s *Store) Entry(ctx context.Context, user string, id store.MessageID) (store.Entry, error) {
	var e store.Entry
	err := s.first(ctx, "entry", s.stmts.findEntry, []any{user, id[:]}, func(r row) (err error) {
		e, err = scanEntry(r)
		return err
	})
	return e, err
}

// MarkRead implements store.Log.
func (s *Store) MarkRead(ctx context.Context, user string, id store.MessageID, at time.Time) error {
	return s.write(ctx, "mark_read", func(tx *sql.Tx) error {
		return one(tx.ExecContext(ctx, sqlMarkRead, millis(at), user, id[:]))
	})
}

// one turns a write that met no row into ErrNotFound.
func one(done sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := done.RowsAffected()
	if err == nil && n == 0 {
		return store.ErrNotFound
	}
	return err
}

// Receipts implements store.Log.
func (s *Store) Receipts(ctx context.Context, wanted map[store.MessageID][]string) ([]store.ReadReceipt, error) {
	byMessage := make(map[string][]string, len(wanted))
	for id, users := range wanted {
		byMessage[id.String()] = users
	}
	asked, err := json.Marshal(byMessage)
	if err != nil {
		return nil, err
	}
	var receipts []store.ReadReceipt
	err = s.each(ctx, "receipts", s.stmts.receipts, []any{string(asked)}, func(r row) error {
		var receipt store.ReadReceipt
		var message []byte
		var at int64
		err := r.Scan(&message, &receipt.User, &at)
		copy(receipt.Message[:], message)
		receipt.ReadAt = fromMillis(at)
		receipts = append(receipts, receipt)
		return err
	})
	return receipts, err
}

// purgeBatch is how many rows of a kind one transaction of Purge removes, so that writers never wait for long.
const purgeBatch = 500

// Purge removes what has passed its time and returns how many rows that were. Space in the file is used again; the
// file does not shrink.
func (s *Store) Purge(ctx context.Context, now time.Time) (removed int64, err error) {
	for {
		n, err := s.purgeSome(ctx, millis(now))
		removed += n
		if err != nil || n == 0 {
			return removed, err
		}
	}
}

func (s *Store) purgeSome(ctx context.Context, now int64) (removed int64, err error) {
	err = s.write(ctx, "purge", func(tx *sql.Tx) error {
		const old = " (SELECT username, position FROM inbox WHERE purge_at <= ?1 ORDER BY purge_at LIMIT ?2)"
		if _, err := tx.ExecContext(ctx, "INSERT INTO inbox_tails SELECT username, max(position) FROM"+old+
			" WHERE true GROUP BY username ON CONFLICT DO UPDATE SET removed = max(removed, excluded.removed)", now, purgeBatch); err != nil {
			return err
		}
		for _, text := range []string{
			"DELETE FROM inbox WHERE (username, position) IN" + old,
			"UPDATE messages SET content = '', iv = '', recipients = 'null', erased = 1 WHERE place IN (SELECT place FROM messages" +
				" WHERE expires_at <= ?1 AND erased = 0 AND tombstone = 0 LIMIT ?2)",
			"DELETE FROM messages WHERE place IN (SELECT place FROM messages WHERE purge_at <= ?1 LIMIT ?2)",
			"DELETE FROM sessions WHERE (username, session) IN (SELECT username, session FROM sessions WHERE expires_at <= ?1 LIMIT ?2)",
			"DELETE FROM revocations WHERE id IN (SELECT id FROM revocations WHERE expires_at <= ?1 LIMIT ?2)",
		} {
			done, err := tx.ExecContext(ctx, text, now, purgeBatch)
			if err != nil {
				return fmt.Errorf("purge: %w", err)
			}
			n, err := done.RowsAffected()
			if err != nil {
				return err
			}
			removed += n
		}
		return nil
	})
	return removed, err
}
