package pebble

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

func cursorValue(c store.SessionCursor) []byte {
	b := appendString([]byte{layout}, c.Epoch)
	b = binary.AppendVarint(binary.AppendVarint(b, c.Position), c.Offered)
	return binary.AppendVarint(b, c.Offers)
}

func decodeCursor(value []byte) (store.SessionCursor, error) {
	r := readValue(value)
	c := store.SessionCursor{Epoch: r.string(), Position: r.int(), Offered: r.int(), Offers: r.int()}
	return c, broken(tableSessions, r.err())
}

// cursor reads a session's cursor, or the furthest of an account.
func (t *turn) cursor(key []byte) (c store.SessionCursor, known bool, err error) {
	value, err := t.get(key)
	if err != nil || value == nil {
		return c, false, err
	}
	c, err = decodeCursor(value)
	return c, true, err
}

// OpenSession implements store.Sessions.
func (s *Store) OpenSession(ctx context.Context, username, sessionID string, expiresAt time.Time) error {
	name := store.Canonical(username)
	return s.write(ctx, "open_session", func(t *turn) error {
		if err := checkName(name); err != nil {
			return err
		}
		furthest, _, err := t.cursor(nameKey(tableFurthest, name))
		if err != nil {
			return err
		}
		return t.addSession(sessionKey(name, sessionID), furthest, expiresAt)
	})
}

// addSession adds a row of a session, unless it is there.
func (t *turn) addSession(key []byte, c store.SessionCursor, expiresAt time.Time) error {
	if _, known, err := t.cursor(key); err != nil || known {
		return err
	}
	if err := t.batch.Set(expiryKey(tableSessionExpiry, millis(expiresAt), key[1:]), nil, nil); err != nil {
		return err
	}
	return t.set(key, cursorValue(c))
}

// begunKey is the key of a row that says that a session has begun to read in an epoch. Session ids contain no slash.
func begunKey(username, sessionID, epoch string) []byte {
	return sessionKey(store.Canonical(username), sessionID+"/"+epoch)
}

// BeginEpoch implements store.Sessions.
func (s *Store) BeginEpoch(ctx context.Context, username, sessionID, epoch string, expiresAt time.Time) error {
	return s.write(ctx, "begin_epoch", func(t *turn) error {
		if err := checkName(store.Canonical(username)); err != nil {
			return err
		}
		return t.addSession(begunKey(username, sessionID, epoch), store.SessionCursor{Epoch: epoch}, expiresAt)
	})
}

// BegunEpoch implements store.Sessions.
func (s *Store) BegunEpoch(ctx context.Context, username, sessionID, epoch string) (begun bool, err error) {
	err = s.read(ctx, "begun_epoch", func() error {
		value, err := s.get(begunKey(username, sessionID, epoch))
		begun = value != nil
		return err
	})
	return begun, err
}

// SessionCursor implements store.Sessions.
func (s *Store) SessionCursor(ctx context.Context, username, sessionID string) (c store.SessionCursor, err error) {
	name := store.Canonical(username)
	err = s.read(ctx, "session_cursor", func() error {
		for _, key := range [][]byte{sessionKey(name, sessionID), nameKey(tableFurthest, name)} {
			value, err := s.get(key)
			if err == nil {
				err = s.awaitRow(ctx, key)
			}
			if err != nil {
				return err
			}
			if value != nil {
				c, err = decodeCursor(value)
				return err
			}
		}
		return nil
	})
	if err != nil {
		return store.SessionCursor{}, err
	}
	return c, nil
}

// OfferSession implements store.Sessions.
func (s *Store) OfferSession(ctx context.Context, username, sessionID string, seen store.SessionCursor, position int64) (ok bool, err error) {
	key := sessionKey(store.Canonical(username), sessionID)
	err = s.write(ctx, "offer_session", func(t *turn) error {
		c, known, err := t.cursor(key)
		if err != nil || !known {
			ok = !known
			return err
		}
		if ok = c == seen; !ok {
			return nil
		}
		c.Offered = position
		c.Offers++
		return t.set(key, cursorValue(c))
	})
	return ok && err == nil, err
}

// WithdrawOffer implements store.Sessions.
func (s *Store) WithdrawOffer(ctx context.Context, username, sessionID string, seen store.SessionCursor) error {
	key := sessionKey(store.Canonical(username), sessionID)
	return s.write(ctx, "withdraw_offer", func(t *turn) error {
		c, known, err := t.cursor(key)
		if err != nil || !known || c.Offers != seen.Offers+1 || c.Offered == 0 {
			return err
		}
		c.Offered = 0
		return t.set(key, cursorValue(c))
	})
}

// AdvanceSession implements store.Sessions.
func (s *Store) AdvanceSession(ctx context.Context, username, sessionID, epoch string, position int64) error {
	return s.moveSession(ctx, username, sessionID, store.SessionCursor{Epoch: epoch, Position: position}, true)
}

// ResetSession implements store.Sessions.
func (s *Store) ResetSession(ctx context.Context, username, sessionID, epoch string, position int64) error {
	return s.moveSession(ctx, username, sessionID, store.SessionCursor{Epoch: epoch, Position: position}, false)
}

// moveSession moves the session and the account forward, and replaces cursors of another epoch. With anyEpoch, a cursor without an epoch
// counts as one of the given epoch.
func (s *Store) moveSession(ctx context.Context, username, sessionID string, to store.SessionCursor, anyEpoch bool) error {
	name := store.Canonical(username)
	move := func(t *turn, key []byte, there bool) error {
		c, known, err := t.cursor(key)
		if err != nil || !known && !there {
			return err
		}
		moved := c
		if c.Epoch == to.Epoch || anyEpoch && c.Epoch == "" {
			moved.Position = max(c.Position, to.Position)
		} else {
			moved.Position, moved.Offered = to.Position, 0
		}
		if moved.Epoch = to.Epoch; known && moved == c {
			return nil
		}
		return t.set(key, cursorValue(moved))
	}
	return s.write(ctx, "move_session", func(t *turn) error {
		if err := move(t, sessionKey(name, sessionID), false); err != nil {
			return err
		}
		registered, err := t.get(nameKey(tableAccounts, name))
		if err != nil {
			return err
		}
		return move(t, nameKey(tableFurthest, name), registered != nil)
	})
}

const epochName = "epoch"

// Epoch implements store.Meta.
func (s *Store) Epoch(ctx context.Context) (string, error) {
	epoch, err := s.PutOnce(ctx, epochName, []byte(store.FirstEpochID()))
	return string(epoch), err
}

// NewEpoch implements store.Meta.
func (s *Store) NewEpoch(ctx context.Context) (string, error) {
	epoch := store.NextEpochID()
	err := s.write(ctx, "new_epoch", func(t *turn) error { return t.set(nameKey(tableMeta, epochName), []byte(epoch)) })
	if err != nil {
		return "", err
	}
	return epoch, nil
}

// PutOnce implements store.Meta.
func (s *Store) PutOnce(ctx context.Context, name string, value []byte) ([]byte, error) {
	if standing, err := s.value(ctx, name); err != nil || standing != nil {
		return standing, err
	}
	var stands []byte
	err := s.write(ctx, "put_once", func(t *turn) (err error) {
		key := nameKey(tableMeta, name)
		if stands, err = t.get(key); err != nil || stands != nil {
			return err
		}
		stands = value
		return t.set(key, value)
	})
	if err != nil {
		return nil, fmt.Errorf("meta %s: %w", name, err)
	}
	return stands, nil
}

// Value implements store.Meta.
func (s *Store) Value(ctx context.Context, name string) ([]byte, error) {
	value, err := s.value(ctx, name)
	if err == nil && value == nil {
		err = fmt.Errorf("meta %s: %w", name, store.ErrNotFound)
	}
	return value, err
}

func (s *Store) value(ctx context.Context, name string) (value []byte, err error) {
	key := nameKey(tableMeta, name)
	err = s.read(ctx, "value", func() (err error) {
		if value, err = s.get(key); err == nil {
			err = s.awaitRow(ctx, key)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("meta %s: %w", name, err)
	}
	return value, nil
}
