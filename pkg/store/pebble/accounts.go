package pebble

import (
	"context"
	"encoding/binary"

	"github.com/sealpost/sealpost/pkg/store"
)

// markBytes is how long a store.AddressMark is stored.
const markBytes = 8

// account is the row of an account. Its current key is in the table of keys.
type account struct {
	store.Account
	version int
}

func (a *account) value() []byte {
	b := appendString(appendString([]byte{layout}, a.Username), a.PasswordHash)
	b = binary.AppendVarint(b, a.Generation)
	b = appendTime(appendTime(b, a.CreatedAt), a.LastLogin)
	b = binary.AppendUvarint(b, uint64(a.version))
	if a.KeyProtected || len(a.KnownAddresses) > 0 { // rows of before end here, and earlier versions read no further
		b = append(b, a.flags())
	}
	for _, mark := range a.KnownAddresses { // up to the end
		b = binary.BigEndian.AppendUint64(b, uint64(mark))
	}
	return b
}

// keyProtected is set in the flags of an account whose key is protected.
const keyProtected = 1

func (a *account) flags() byte {
	if a.KeyProtected {
		return keyProtected
	}
	return 0
}

func decodeAccount(value []byte) (a account, err error) {
	r := readValue(value)
	a.Username, a.PasswordHash, a.Generation = r.string(), r.string(), r.int()
	a.CreatedAt, a.LastLogin = r.time(), r.time()
	a.version = int(r.uint())
	if len(r.rest) > 0 {
		a.KeyProtected = r.byte()&keyProtected != 0
	}
	for len(r.rest) > 0 {
		if mark := r.take(markBytes); mark != nil {
			a.KnownAddresses = append(a.KnownAddresses, store.AddressMark(binary.BigEndian.Uint64(mark)))
		}
	}
	return a, broken(tableAccounts, r.err())
}

func keyValue(k *store.Key) []byte {
	b := appendString(appendString([]byte{layout}, k.PEM), k.Fingerprint)
	return appendTime(b, k.CreatedAt)
}

func decodeKey(version int, value []byte) (store.Key, error) {
	r := readValue(value)
	k := store.Key{Version: version, PEM: r.string(), Fingerprint: r.string(), CreatedAt: r.time()}
	return k, broken(tableKeys, r.err())
}

// CreateAccount implements store.Accounts.
func (s *Store) CreateAccount(ctx context.Context, a store.Account) error {
	name := store.Canonical(a.Username)
	return s.write(ctx, "create_account", func(t *turn) error {
		if err := checkName(name); err != nil {
			return err
		}
		standing, err := t.get(nameKey(tableAccounts, name))
		if err != nil {
			return err
		}
		if standing != nil {
			return store.ErrUsernameTaken
		}
		row := account{Account: a, version: a.Key.Version}
		if err := t.set(keyKey(name, a.Key.Version), keyValue(&a.Key)); err != nil {
			return err
		}
		return t.set(nameKey(tableAccounts, name), row.value())
	})
}

// account reads the row of an account, or returns ErrNotFound.
func (s *Store) account(ctx context.Context, name string) (account, error) {
	key := nameKey(tableAccounts, name)
	value, err := s.get(key)
	if err == nil {
		err = s.awaitRow(ctx, key)
	}
	if err == nil && value == nil {
		err = store.ErrNotFound
	}
	if err != nil {
		return account{}, err
	}
	return decodeAccount(value)
}

// key reads a version of a user's key.
func (s *Store) key(ctx context.Context, name string, version int) (store.Key, error) {
	key := keyKey(name, version)
	value, err := s.get(key)
	if err == nil {
		err = s.awaitRow(ctx, key)
	}
	if err != nil {
		return store.Key{}, err
	}
	return decodeKey(version, value)
}

// Account implements store.Accounts.
func (s *Store) Account(ctx context.Context, username string) (store.Account, error) {
	name := store.Canonical(username)
	var a account
	err := s.read(ctx, "account", func() (err error) {
		if a, err = s.account(ctx, name); err == nil {
			a.Key, err = s.key(ctx, name, a.version)
		}
		return err
	})
	if err != nil {
		return store.Account{}, err
	}
	return a.Account, nil
}

// raiseGeneration is the operation that ends an account's tokens. It writes one small row, also while the disk is nearly full.
const raiseGeneration = "raise_generation"

// changeAccount changes an account's row, or returns ErrNotFound.
func (s *Store) changeAccount(ctx context.Context, operation, username string, change func(t *turn, name string, a *account) error) error {
	name := store.Canonical(username)
	return s.write(ctx, operation, func(t *turn) error {
		key := nameKey(tableAccounts, name)
		value, err := t.get(key)
		if err != nil {
			return err
		}
		if value == nil {
			return store.ErrNotFound
		}
		a, err := decodeAccount(value)
		if err != nil {
			return err
		}
		if err := change(t, name, &a); err != nil {
			return err
		}
		return t.set(key, a.value())
	})
}

// RecordLogin implements store.Accounts.
func (s *Store) RecordLogin(ctx context.Context, username string, l store.Login) error {
	return s.changeAccount(ctx, "record_login", username, func(_ *turn, _ string, a *account) error {
		if !l.At.IsZero() {
			a.LastLogin = l.At
		}
		a.KnownAddresses = store.Remember(a.KnownAddresses, l.From)
		return nil
	})
}

// ReplaceHash implements store.Accounts.
func (s *Store) ReplaceHash(ctx context.Context, username, oldHash, newHash string) error {
	_, err := s.replaceHash(ctx, "replace_hash", username, oldHash, newHash, 0)
	return err
}

// ChangePassword implements store.Accounts.
func (s *Store) ChangePassword(ctx context.Context, username, oldHash, newHash string) (generation int64, err error) {
	return s.replaceHash(ctx, "change_password", username, oldHash, newHash, 1)
}

// replaceHash replaces the hash if it still equals oldHash, and adds raise to the generation.
func (s *Store) replaceHash(ctx context.Context, operation, username, oldHash, newHash string, raise int64) (generation int64, err error) {
	err = s.changeAccount(ctx, operation, username, func(_ *turn, _ string, a *account) error {
		if a.PasswordHash != oldHash {
			return store.ErrConflict
		}
		a.PasswordHash = newHash
		a.Generation += raise
		generation = a.Generation
		return nil
	})
	if err != nil {
		return 0, err
	}
	return generation, nil
}

// RaiseGeneration implements store.Accounts.
func (s *Store) RaiseGeneration(ctx context.Context, username string) (generation int64, err error) {
	err = s.changeAccount(ctx, raiseGeneration, username, func(_ *turn, _ string, a *account) error {
		a.Generation++
		generation = a.Generation
		return nil
	})
	if err != nil {
		return 0, err
	}
	return generation, nil
}

// RotateKey implements store.Keys.
func (s *Store) RotateKey(ctx context.Context, username string, key store.Key, provenHash string) (version int, err error) {
	err = s.changeAccount(ctx, "rotate_key", username, func(t *turn, name string, a *account) error {
		switch {
		case provenHash != "":
			if err := a.protect(provenHash); err != nil {
				return err
			}
		case a.KeyProtected:
			return store.ErrKeyProtected
		}
		a.version++
		version = a.version
		return t.set(keyKey(name, version), keyValue(&key))
	})
	if err != nil {
		return 0, err
	}
	return version, nil
}

// ProtectKey implements store.Keys.
func (s *Store) ProtectKey(ctx context.Context, username, provenHash string) error {
	return s.changeAccount(ctx, "protect_key", username, func(_ *turn, _ string, a *account) error { return a.protect(provenHash) })
}

// protect protects the key if provenHash is the account's.
func (a *account) protect(provenHash string) error {
	if a.PasswordHash != provenHash {
		return store.ErrConflict
	}
	a.KeyProtected = true
	return nil
}

// KeyHistory implements store.Keys.
func (s *Store) KeyHistory(ctx context.Context, username string, before, limit int) (display string, keys []store.Key, err error) {
	name := store.Canonical(username)
	err = s.read(ctx, "key_history", func() error {
		a, err := s.account(ctx, name)
		if err != nil {
			return err
		}
		display = a.Username
		first, last := store.KeyPage(a.version, before, limit)
		return many(ctx, last-first+1, func(i int) error {
			k, err := s.key(ctx, name, first+i)
			keys = append(keys, k)
			return err
		})
	})
	if err != nil {
		return "", nil, err
	}
	return display, keys, nil
}

// ListKeys implements store.Keys.
func (s *Store) ListKeys(ctx context.Context, after string, limit int) ([]store.UserKey, error) {
	var users []store.UserKey
	err := s.read(ctx, "list_keys", func() error {
		bounds := span{from: append(nameKey(tableAccounts, after), 0), to: []byte{tableAccounts + 1}}
		return s.walk(ctx, bounds, func(key, value []byte) (more bool, err error) {
			if len(users) >= limit {
				return false, nil
			}
			a, err := decodeAccount(value)
			if err == nil {
				err = s.awaitRow(ctx, key)
			}
			if err != nil {
				return false, err
			}
			k, err := s.key(ctx, store.Canonical(a.Username), a.version)
			users = append(users, store.UserKey{Username: a.Username, Key: k})
			return err == nil && len(users) < limit, err
		})
	})
	if err != nil {
		return nil, err
	}
	return users, nil
}

// KeyVersions implements store.Keys.
func (s *Store) KeyVersions(ctx context.Context, usernames []string) (map[string]store.UserKey, error) {
	found := make(map[string]store.UserKey, len(usernames))
	err := s.read(ctx, "key_versions", func() error {
		for _, name := range usernames {
			if err := ctx.Err(); err != nil {
				return err
			}
			var a account
			key := nameKey(tableAccounts, name)
			known, err := s.look(key, func(value []byte) (err error) {
				a, err = decodeAccount(value)
				return err
			})
			if err == nil {
				err = s.awaitRow(ctx, key)
			}
			if err != nil {
				return err
			}
			if known {
				found[name] = store.UserKey{Username: a.Username, Key: store.Key{Version: a.version}}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}
