package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

const (
	entryColumns   = "username, position, kind, message, digest, wrapped_key, key_version, at, read_at, expires_at, purge_at, size, place"
	messageColumns = "id, sender, sender_key_version, recipients, iv, client_message_id, digest, created_at, expires_at, purge_at, tombstone, erased, content"
)

// The statements of the request paths. Lists of keys travel as one JSON array, so that every statement is prepared once.
const (
	sqlInsertEntry   = "INSERT OR FAIL INTO inbox (" + entryColumns + ") VALUES " + sqlEntryValues
	sqlOfferEntry    = "INSERT INTO inbox (" + entryColumns + ") VALUES " + sqlEntryValues + " ON CONFLICT DO NOTHING"
	sqlEntryValues   = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	sqlEntry         = "SELECT " + entryColumns + " FROM inbox WHERE username = ? AND message = ?"
	sqlInsertMessage = "INSERT INTO messages (place, " + messageColumns + ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
	sqlMessages      = "SELECT " + messageColumns + " FROM messages WHERE id IN (SELECT unhex(value) FROM json_each(?))"
	sqlMessagesAt    = "SELECT " + messageColumns + " FROM messages WHERE place IN (SELECT value FROM json_each(?))"
	sqlDecided       = "SELECT id FROM messages WHERE id IN (SELECT unhex(value) FROM json_each(?))"
	sqlEntries       = "SELECT " + entryColumns + " FROM inbox WHERE username = ? AND position > ? AND position <= ? ORDER BY position"
	sqlFirstAfter    = "SELECT position FROM inbox WHERE username = ? AND position > ? ORDER BY position LIMIT 1"
	// The highest and the lowest position of each inbox, and the highest that was removed from it.
	sqlTails = "SELECT u.value, (SELECT position FROM inbox WHERE username = u.value ORDER BY position DESC LIMIT 1)," +
		" (SELECT position FROM inbox WHERE username = u.value ORDER BY position LIMIT 1)," +
		" coalesce((SELECT removed FROM inbox_tails WHERE username = u.value), 0) FROM json_each(?) u"
	sqlMarkRead = "UPDATE inbox SET read_at = coalesce(read_at, ?) WHERE username = ? AND message = ?"
	// What is asked for is an object with a list of users for each message. Without being told, SQLite takes the primary key, and
	// walks every recipient's whole inbox.
	sqlReceipts = "SELECT message, username, read_at FROM json_each(?) m CROSS JOIN json_each(m.value) u CROSS JOIN inbox INDEXED BY inbox_message" +
		" ON message = unhex(m.key) AND username = u.value WHERE read_at IS NOT NULL"

	sqlAccount = "SELECT a.display, a.password_hash, a.generation, a.created_at, a.last_login, k.version, k.pem, k.fingerprint, k.created_at" +
		" FROM accounts a JOIN keys k ON k.username = a.username AND k.version = a.key_version WHERE a.username = ?"
	sqlKeyVersions = "SELECT username, display, key_version FROM accounts WHERE username IN (SELECT value FROM json_each(?))"
	sqlListKeys    = "SELECT a.display, k.version, k.pem, k.fingerprint, k.created_at FROM accounts a" +
		" JOIN keys k ON k.username = a.username AND k.version = a.key_version WHERE a.username > ? ORDER BY a.username LIMIT ?"
	sqlKeyHistory = "SELECT a.display, k.version, k.pem, k.fingerprint, k.created_at FROM accounts a" +
		" JOIN keys k ON k.username = a.username WHERE a.username = ? ORDER BY k.version"

	// The session's, or else the account's furthest.
	sqlSessionCursor = "SELECT coalesce(s.epoch, a.furthest_epoch, ''), coalesce(s.cursor, a.furthest, 0), coalesce(s.offered, 0), coalesce(s.offers, 0)" +
		" FROM (SELECT 1) LEFT JOIN sessions s ON s.username = ?1 AND s.session = ?2 LEFT JOIN accounts a ON a.username = ?1"
	sqlRevocationsAfter = "SELECT id, token_id, subject, min_generation, expires_at FROM revocations WHERE id > ? AND expires_at > ? ORDER BY id LIMIT ?"
)

// entryValues is how many columns an entry has.
const entryValues = 13

// entriesAtOnce is how many rows one statement inserts: enough that its own cost does not count.
const entriesAtOnce = 20

// sqlInsertEntries is sqlInsertEntry for many. If a row is refused it fails in between, and the transaction has to be given
// up: that spares SQLite the bookkeeping that undoing a statement takes.
var sqlInsertEntries = sqlInsertEntry + strings.Repeat(", "+sqlEntryValues, entriesAtOnce-1)

// statements are those that run often enough to be prepared ahead.
type statements struct {
	// on the writing connection
	begin, commit, rollback                                      *sql.Stmt
	insertEntry, insertEntries, offerEntry, entry, insertMessage *sql.Stmt
	// on the reading ones
	messages, messagesAt, decided, entries, firstAfter, tails, findEntry, receipts *sql.Stmt
	account, keyVersions, listKeys, keyHistory, cursor, revocations                *sql.Stmt

	all []*sql.Stmt
}

// close gives the statements up: a connection that still has some is not closed for good, and its log not taken over
// into the file.
func (st *statements) close() error {
	var faults []error
	for _, s := range st.all {
		faults = append(faults, s.Close())
	}
	return errors.Join(faults...)
}

func (st *statements) prepare(ctx context.Context, writer *sql.Conn, reader *sql.DB) error {
	type preparer interface {
		PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	}
	for _, p := range []struct {
		on   preparer
		text string
		to   **sql.Stmt
	}{
		{writer, "BEGIN IMMEDIATE", &st.begin},
		{writer, "COMMIT", &st.commit},
		{writer, "ROLLBACK", &st.rollback},
		{writer, sqlInsertEntry, &st.insertEntry},
		{writer, sqlInsertEntries, &st.insertEntries},
		{writer, sqlOfferEntry, &st.offerEntry},
		{writer, sqlEntry, &st.entry},
		{writer, sqlInsertMessage, &st.insertMessage},
		{reader, sqlMessages, &st.messages},
		{reader, sqlMessagesAt, &st.messagesAt},
		{reader, sqlDecided, &st.decided},
		{reader, sqlEntries, &st.entries},
		{reader, sqlFirstAfter, &st.firstAfter},
		{reader, sqlTails, &st.tails},
		{reader, sqlEntry, &st.findEntry},
		{reader, sqlReceipts, &st.receipts},
		{reader, sqlAccount, &st.account},
		{reader, sqlKeyVersions, &st.keyVersions},
		{reader, sqlListKeys, &st.listKeys},
		{reader, sqlKeyHistory, &st.keyHistory},
		{reader, sqlSessionCursor, &st.cursor},
		{reader, sqlRevocationsAfter, &st.revocations},
	} {
		s, err := p.on.PrepareContext(ctx, p.text)
		if err != nil {
			return fmt.Errorf("prepare %q: %w", p.text, err)
		}
		*p.to = s
		st.all = append(st.all, s)
	}
	return nil
}
