package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

// CreateAccount implements store.Accounts.
func (s *Store) CreateAccount(ctx context.Context, a store.Account) error {
	name := store.Canonical(a.Username)
	return s.write(ctx, "create_account", func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, "INSERT INTO accounts (username, display, password_hash, generation, created_at, last_login, key_version)"+
			" VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
			name, a.Username, a.PasswordHash, a.Generation, millis(a.CreatedAt), millis(a.LastLogin), a.Key.Version)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			if err == nil {
				err = store.ErrUsernameTaken
			}
			return err
		}
		return insertKey(ctx, tx, name, a.Key)
	})
}

func insertKey(ctx context.Context, tx *sql.Tx, name string, k store.Key) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO keys (username, version, pem, fingerprint, created_at) VALUES (?, ?, ?, ?, ?)",
		name, k.Version, k.PEM, k.Fingerprint, millis(k.CreatedAt))
	return err
}

// Account implements store.Accounts.
func (s *Store) Account(ctx context.Context, username string) (store.Account, error) {
	var a store.Account
	var created, login, keyCreated int64
	err := s.first(ctx, "account", s.stmts.account, []any{store.Canonical(username)}, func(r row) error {
		return r.Scan(&a.Username, &a.PasswordHash, &a.Generation, &created, &login, &a.Key.Version, &a.Key.PEM, &a.Key.Fingerprint, &keyCreated)
	})
	a.CreatedAt, a.LastLogin, a.Key.CreatedAt = fromMillis(created), fromMillis(login), fromMillis(keyCreated)
	return a, err
}

// RecordLogin implements store.Accounts.
func (s *Store) RecordLogin(ctx context.Context, username string, at time.Time) error {
	return s.write(ctx, "record_login", func(tx *sql.Tx) error {
		return one(tx.ExecContext(ctx, "UPDATE accounts SET last_login = ? WHERE username = ?", millis(at), store.Canonical(username)))
	})
}

// ReplaceHash implements store.Accounts.
func (s *Store) ReplaceHash(ctx context.Context, username, oldHash, newHash string) error {
	return s.write(ctx, "replace_hash", func(tx *sql.Tx) error {
		_, err := replaceHash(ctx, tx, username, oldHash, newHash, 0)
		return err
	})
}

// ChangePassword implements store.Accounts.
func (s *Store) ChangePassword(ctx context.Context, username, oldHash, newHash string) (generation int64, err error) {
	err = s.write(ctx, "change_password", func(tx *sql.Tx) error {
		generation, err = replaceHash(ctx, tx, username, oldHash, newHash, 1)
		return err
	})
	return generation, err
}

// replaceHash replaces the hash if it is still oldHash and raises the generation by raise.
func replaceHash(ctx context.Context, tx *sql.Tx, username, oldHash, newHash string, raise int) (generation int64, err error) {
	name := store.Canonical(username)
	var current string
	if err := tx.QueryRowContext(ctx, "SELECT password_hash FROM accounts WHERE username = ?", name).Scan(&current); err != nil {
		return 0, err
	}
	if current != oldHash {
		return 0, store.ErrConflict
	}
	err = tx.QueryRowContext(ctx, "UPDATE accounts SET password_hash = ?, generation = generation + ? WHERE username = ? RETURNING generation",
		newHash, raise, name).Scan(&generation)
	return generation, err
}

// RaiseGeneration implements store.Accounts.
func (s *Store) RaiseGeneration(ctx context.Context, username string) (generation int64, err error) {
	err = s.write(ctx, "raise_generation", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, "UPDATE accounts SET generation = generation + 1 WHERE username = ? RETURNING generation",
			store.Canonical(username)).Scan(&generation)
	})
	return generation, err
}

// RotateKey implements store.Keys.
func (s *Store) RotateKey(ctx context.Context, username string, key store.Key) (version int, err error) {
	name := store.Canonical(username)
	err = s.write(ctx, "rotate_key", func(tx *sql.Tx) error {
		if err := tx.QueryRowContext(ctx, "UPDATE accounts SET key_version = key_version + 1 WHERE username = ? RETURNING key_version",
			name).Scan(&version); err != nil {
			return err
		}
		key.Version = version
		return insertKey(ctx, tx, name, key)
	})
	return version, err
}

// KeyHistory implements store.Keys.
func (s *Store) KeyHistory(ctx context.Context, username string) (display string, keys []store.Key, err error) {
	versions, err := all(ctx, s, query{operation: "key_history", stmt: s.stmts.keyHistory, args: []any{store.Canonical(username)}, expected: 1}, scanUserKey)
	if err != nil {
		return "", nil, err
	}
	if len(versions) == 0 {
		return "", nil, store.ErrNotFound
	}
	for _, v := range versions {
		keys = append(keys, v.Key)
	}
	return versions[0].Username, keys, nil
}

func scanUserKey(r row) (store.UserKey, error) {
	var u store.UserKey
	var created int64
	err := r.Scan(&u.Username, &u.Key.Version, &u.Key.PEM, &u.Key.Fingerprint, &created)
	u.Key.CreatedAt = fromMillis(created)
	return u, err
}

// ListKeys implements store.Keys.
func (s *Store) ListKeys(ctx context.Context, after string, limit int) ([]store.UserKey, error) {
	return all(ctx, s, query{operation: "list_keys", stmt: s.stmts.listKeys, args: []any{after, limit}}, scanUserKey)
}

// KeyVersions implements store.Keys.
func (s *Store) KeyVersions(ctx context.Context, usernames []string) (map[string]store.UserKey, error) {
	users, err := all(ctx, s, query{operation: "key_versions", stmt: s.stmts.keyVersions, args: []any{list(usernames)}, expected: len(usernames)}, func(r row) (u store.UserKey, err error) {
		err = r.Scan(&u.Username, &u.Key.Version)
		return u, err
	})
	if err != nil {
		return nil, err
	}
	found := make(map[string]store.UserKey, len(users))
	for _, u := range users {
		found[store.Canonical(u.Username)] = u
	}
	return found, nil
}

// OpenSession implements store.Sessions.
func (s *Store) OpenSession(ctx context.Context, username, sessionID string, expiresAt time.Time) error {
	name := store.Canonical(username)
	return s.write(ctx, "open_session", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO sessions (username, session, expires_at, cursor, epoch)"+
			" SELECT ?1, ?2, ?3, coalesce(furthest, 0), coalesce(furthest_epoch, '') FROM (SELECT 1) LEFT JOIN accounts ON username = ?1"+
			" WHERE true ON CONFLICT DO NOTHING",
			name, sessionID, millis(expiresAt))
		return err
	})
}

// SessionCursor implements store.Sessions.
func (s *Store) SessionCursor(ctx context.Context, username, sessionID string) (store.SessionCursor, error) {
	var c store.SessionCursor
	err := s.first(ctx, "session_cursor", s.stmts.cursor, []any{store.Canonical(username), sessionID}, func(r row) error {
		return r.Scan(&c.Epoch, &c.Position, &c.Offered, &c.Offers)
	})
	return c, err
}

// OfferSession implements store.Sessions.
func (s *Store) OfferSession(ctx context.Context, username, sessionID string, seen store.SessionCursor, position int64) (ok bool, err error) {
	name := store.Canonical(username)
	err = s.write(ctx, "offer_session", func(tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, "UPDATE sessions SET offered = ?, offers = offers + 1 WHERE username = ? AND session = ? AND epoch = ? AND cursor = ?"+
			" AND offered = ? AND offers = ?", position, name, sessionID, seen.Epoch, seen.Position, seen.Offered, seen.Offers)
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n > 0 {
			ok = n > 0
			return err
		}
		var known bool
		err = tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM sessions WHERE username = ? AND session = ?)", name, sessionID).Scan(&known)
		ok = !known
		return err
	})
	return ok, err
}

// WithdrawOffer implements store.Sessions.
func (s *Store) WithdrawOffer(ctx context.Context, username, sessionID string, seen store.SessionCursor) error {
	return s.write(ctx, "withdraw_offer", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "UPDATE sessions SET offered = 0 WHERE username = ? AND session = ? AND offers = ?",
			store.Canonical(username), sessionID, seen.Offers+1)
		return err
	})
}

// AdvanceSession implements store.Sessions.
func (s *Store) AdvanceSession(ctx context.Context, username, sessionID, epoch string, position int64) error {
	return s.moveSession(ctx, username, sessionID, epoch, position, true)
}

// ResetSession implements store.Sessions.
func (s *Store) ResetSession(ctx context.Context, username, sessionID, epoch string, position int64) error {
	return s.moveSession(ctx, username, sessionID, epoch, position, false)
}

// moveSession moves the session and the account forward, and replaces what is of another epoch. anyEpoch: what is stored without
// an epoch is of the given one, too.
func (s *Store) moveSession(ctx context.Context, username, sessionID, epoch string, position int64, anyEpoch bool) error {
	name := store.Canonical(username)
	const session = "UPDATE sessions SET cursor = CASE WHEN epoch = ?1 OR (?2 AND epoch = '') THEN max(cursor, ?3) ELSE ?3 END," +
		" offered = CASE WHEN epoch = ?1 OR (?2 AND epoch = '') THEN offered ELSE 0 END, epoch = ?1 WHERE username = ?4 AND session = ?5"
	const account = "UPDATE accounts SET furthest = CASE WHEN furthest_epoch = ?1 OR (?2 AND furthest_epoch = '') THEN max(furthest, ?3) ELSE ?3 END," +
		" furthest_epoch = ?1 WHERE username = ?4"
	return s.write(ctx, "move_session", func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, session, epoch, anyEpoch, position, name, sessionID); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, account, epoch, anyEpoch, position, name)
		return err
	})
}

// Epoch implements store.Meta.
func (s *Store) Epoch(ctx context.Context) (string, error) {
	epoch, err := s.PutOnce(ctx, "epoch", []byte(store.NewEpochID()))
	return string(epoch), err
}

// NewEpoch implements store.Meta.
func (s *Store) NewEpoch(ctx context.Context) (string, error) {
	epoch := store.NewEpochID()
	err := s.write(ctx, "new_epoch", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES ('epoch', ?) ON CONFLICT DO UPDATE SET value = excluded.value", []byte(epoch))
		return err
	})
	return epoch, err
}

// PutOnce implements store.Meta.
func (s *Store) PutOnce(ctx context.Context, name string, value []byte) ([]byte, error) {
	standing, err := s.Value(ctx, name)
	if err == nil || !errors.Is(err, store.ErrNotFound) {
		return standing, err
	}
	err = s.write(ctx, "put_once", func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", name, value)
		return err
	})
	if err != nil {
		return nil, unavailable(fmt.Errorf("meta %s: %w", name, err))
	}
	return s.Value(ctx, name)
}

// Value implements store.Meta.
func (s *Store) Value(ctx context.Context, name string) ([]byte, error) {
	var value []byte
	err := s.readDB.QueryRowContext(ctx, "SELECT value FROM meta WHERE name = ?", name).Scan(&value)
	if err != nil {
		return nil, unavailable(fmt.Errorf("meta %s: %w", name, err))
	}
	return value, nil
}
