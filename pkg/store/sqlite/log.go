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
				return s.bulk(ctx, synced, oneByOne)
			}
			err := s.bulk(ctx, unsynced, together)
			if isConstraint(err) {
				return s.bulk(ctx, unsynced, oneByOne) // some are refused: find out which
			}
			results = make([]store.EntryResult, len(entries))
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return results, nil
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
	var digest []byte
	var at, expires, purge int64
	var read sql.NullInt64
	err := r.Scan(&e.User, &e.Position, &e.Kind, (*messageID)(&e.Message), &digest, &e.WrappedKey, &e.KeyVersion, &at, &read, &expires, &purge, &e.Size, &e.Place)
	if err != nil {
		return e, err
	}
	copy(e.Digest[:], digest)
	e.At, e.ExpiresAt, e.PurgeAt = fromMillis(at), fromMillis(expires), fromMillis(purge)
	if read.Valid {
		e.ReadAt = fromMillis(read.Int64)
	}
	return e, nil
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
				m.ClientMessageID, m.Digest[:], millis(m.CreatedAt), millis(m.ExpiresAt), millis(m.KeptUntil()), m.Tombstone, m.Erased, m.Content)
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
			err := s.bulk(ctx, synced, insert)
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

// RenewTombstone implements store.Log.
func (s *Store) RenewTombstone(ctx context.Context, id store.MessageID, purgeAt time.Time) error {
	return s.write(ctx, "renew_tombstone", func(tx *sql.Tx) error {
		return one(tx.ExecContext(ctx, "UPDATE messages SET purge_at = max(purge_at, ?) WHERE id = ? AND tombstone", millis(purgeAt), id[:]))
	})
}

// Messages implements store.Log.
func (s *Store) Messages(ctx context.Context, ids []store.MessageID) (map[store.MessageID]store.Message, error) {
	messages, err := all(ctx, s, query{operation: "messages", stmt: s.stmts.messages, args: []any{hexList(ids)}, expected: len(ids)}, scanMessage)
	if err != nil {
		return nil, err
	}
	found := make(map[store.MessageID]store.Message, len(messages))
	for _, m := range messages {
		found[m.ID] = m
	}
	return found, nil
}

// Decided implements store.Log.
func (s *Store) Decided(ctx context.Context, ids []store.MessageID) (map[store.MessageID]bool, error) {
	found, err := all(ctx, s, query{operation: "decided", stmt: s.stmts.decided, args: []any{hexList(ids)}, expected: len(ids)}, func(r row) (id store.MessageID, err error) {
		err = r.Scan((*messageID)(&id))
		return id, err
	})
	if err != nil {
		return nil, err
	}
	decided := make(map[store.MessageID]bool, len(found))
	for _, id := range found {
		decided[id] = true
	}
	return decided, nil
}

// messageID reads a message id from a column.
type messageID store.MessageID

// Scan implements sql.Scanner.
func (id *messageID) Scan(column any) error {
	blob, ok := column.([]byte)
	if !ok || len(blob) != len(id) {
		return errBadColumn
	}
	copy(id[:], blob)
	return nil
}

// errBadColumn means that a column holds what this program never writes there.
var errBadColumn = errors.New("a column holds no message id")

func scanMessage(r row) (store.Message, error) {
	var m store.Message
	var digest []byte
	var recipients string
	var created, expires, purge int64
	err := r.Scan((*messageID)(&m.ID), &m.Sender, &m.SenderKeyVersion, &recipients, &m.IV, &m.ClientMessageID, &digest, &created, &expires, &purge, &m.Tombstone, &m.Erased, &m.Content)
	if err != nil {
		return m, err
	}
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

// query is a prepared statement with its arguments.
type query struct {
	// operation is what the observer is told.
	operation string
	stmt      *sql.Stmt
	args      []any
	// expected is for how many rows room is made.
	expected int
}

// all runs a query and returns what scan makes of its rows: of all of them, or nothing and an error.
func all[T any](ctx context.Context, s *Store, q query, scan func(r row) (T, error)) (list []T, err error) {
	err = s.observed(ctx, q.operation, func() error {
		list, err = scanAll(ctx, q, scan)
		return unavailable(err)
	})
	return list, err
}

// first runs a query of one row and hands it to f.
func (s *Store) first(ctx context.Context, operation string, stmt *sql.Stmt, args []any, f func(r row) error) error {
	return s.observed(ctx, operation, func() error { return unavailable(f(stmt.QueryRowContext(ctx, args...))) })
}

func scanAll[T any](ctx context.Context, q query, scan func(r row) (T, error)) ([]T, error) {
	rows, err := q.stmt.QueryContext(ctx, q.args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var list []T
	for rows.Next() {
		if list == nil {
			list = make([]T, 0, max(1, q.expected))
		}
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return list, nil
}

// expectEntries bounds the room that is made for entries at once.
const expectEntries = 256

// Entries implements store.Log.
func (s *Store) Entries(ctx context.Context, user string, after, upTo int64) ([]store.Entry, error) {
	expected := int(max(0, min(upTo-after, expectEntries)))
	return all(ctx, s, query{operation: "entries", stmt: s.stmts.entries, args: []any{user, after, upTo}, expected: expected}, scanEntry)
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
	type inbox struct {
		user            string
		highest, lowest sql.NullInt64
		removed         int64
	}
	inboxes, err := all(ctx, s, query{operation: "tails", stmt: s.stmts.tails, args: []any{list(users)}, expected: len(users)}, func(r row) (i inbox, err error) {
		err = r.Scan(&i.user, &i.highest, &i.lowest, &i.removed)
		return i, err
	})
	if err != nil {
		return nil, err
	}
	tails := make(map[string]store.Tail, len(inboxes))
	for _, i := range inboxes {
		tail := store.Tail{Position: max(i.highest.Int64, i.removed), Removed: i.removed}
		if i.lowest.Valid {
			tail.Removed = min(i.removed, i.lowest.Int64-1)
		}
		tails[i.user] = tail
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
	return all(ctx, s, query{operation: "receipts", stmt: s.stmts.receipts, args: []any{string(asked)}}, func(r row) (receipt store.ReadReceipt, err error) {
		var at int64
		err = r.Scan((*messageID)(&receipt.Message), &receipt.User, &at)
		receipt.ReadAt = fromMillis(at)
		return receipt, err
	})
}

// purgeBatch is how many rows of a kind one transaction of Purge removes or erases, so that writers never wait for long.
const purgeBatch = 500

// Purge removes what has passed its time, erases the contents of the messages that have expired, and returns how many rows that
// were. Space in the file is used again; the file does not shrink.
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
				" WHERE expires_at <= ?1 AND erased = 0 AND tombstone = 0 AND expires_at < purge_at LIMIT ?2)",
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
