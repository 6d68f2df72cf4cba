package mongo

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/sealpost/sealpost/pkg/store"
)

// keyFields is a public key, in an account or archived.
type keyFields struct {
	Version     int       `bson:"v"`
	PEM         string    `bson:"pem"`
	Fingerprint string    `bson:"fingerprint"`
	CreatedAt   time.Time `bson:"createdAt"`
}

func fieldsOf(k store.Key) keyFields { return keyFields(k) }

func (f keyFields) key() store.Key { return store.Key(f) }

// archivedKey is a former key, or one about to be replaced. It is written once: its id consists of name and version.
type archivedKey struct {
	ID   string    `bson:"_id"`
	User string    `bson:"u"`
	Key  keyFields `bson:",inline"`
}

// RotateKey implements store.Keys. It archives the current key before it replaces it, so that no version is ever missing. An archived copy
// of the current key does no harm, because KeyHistory leaves it out.
func (s *Store) RotateKey(ctx context.Context, username string, key store.Key, provenHash string) (version int, err error) {
	name := store.Canonical(username)
	for {
		current, err := s.Account(ctx, name)
		if err != nil {
			return 0, err
		}
		key.Version = current.Key.Version + 1
		filter, changes, err := rotation(name, current, key, provenHash)
		if err != nil {
			return 0, err
		}
		if _, err := insertOne(ctx, s.keys, archivedKey{
			ID: fmt.Sprintf("%s/%d", name, current.Key.Version), User: name, Key: fieldsOf(current.Key),
		}); err != nil {
			return 0, err
		}
		replaced, err := s.users.UpdateOne(ctx, filter, bson.D{{Key: "$set", Value: changes}})
		if err != nil {
			return 0, unavailable(err)
		}
		if replaced.MatchedCount == 1 {
			return key.Version, nil
		}
		// Another rotation came first, or the key was protected or the password changed meanwhile. Each lost round was won by another
		// change, so the loop ends.
	}
}

// rotation returns the update that replaces the current key, and what it requires of the account. See store.Keys.RotateKey.
func rotation(name string, current store.Account, key store.Key, provenHash string) (filter, changes bson.D, err error) {
	filter, changes = bson.D{eq("_id", name), eq("key.v", current.Key.Version)}, bson.D{eq("key", fieldsOf(key))}
	switch {
	case provenHash == "" && current.KeyProtected:
		return nil, nil, store.ErrKeyProtected
	case provenHash == "":
		return append(filter, bson.E{Key: protectedField, Value: bson.D{{Key: "$ne", Value: true}}}), changes, nil
	case provenHash != current.PasswordHash:
		return nil, nil, store.ErrConflict
	}
	return append(filter, eq("hash", provenHash)), append(changes, eq(protectedField, true)), nil
}

// ProtectKey implements store.Keys.
func (s *Store) ProtectKey(ctx context.Context, username, provenHash string) error {
	_, err := s.updateIfHash(ctx, username, provenHash, bson.D{set(protectedField, true)})
	return err
}

// KeyHistory implements store.Keys.
func (s *Store) KeyHistory(ctx context.Context, username string, before, limit int) (display string, keys []store.Key, err error) {
	name := store.Canonical(username)
	account, err := s.Account(ctx, name)
	if err != nil {
		return "", nil, err
	}
	current := account.Key.Version
	first, last := store.KeyPage(current, before, limit)
	if below := min(last+1, current); first < below {
		archive, err := all[archivedKey](ctx, s.keys, queryArchive(name, first, below))
		if err != nil {
			return "", nil, err
		}
		for _, a := range archive {
			keys = append(keys, a.Key.key())
		}
	}
	if last == current {
		keys = append(keys, account.Key)
	}
	return account.Username, keys, nil
}

// ListKeys implements store.Keys.
func (s *Store) ListKeys(ctx context.Context, after string, limit int) ([]store.UserKey, error) {
	found, err := all[userDocument](ctx, s.users, queryDirectory(after, limit))
	if err != nil {
		return nil, err
	}
	users := make([]store.UserKey, len(found))
	for i, d := range found {
		users[i] = store.UserKey{Username: d.Name, Key: d.Key.key()}
	}
	return users, nil
}

// KeyVersions implements store.Keys.
func (s *Store) KeyVersions(ctx context.Context, usernames []string) (map[string]store.UserKey, error) {
	versions := make(map[string]store.UserKey, len(usernames))
	if len(usernames) == 0 {
		return versions, nil
	}
	found, err := all[userDocument](ctx, s.users, queryVersions(usernames))
	if err != nil {
		return nil, err
	}
	for _, d := range found {
		versions[d.ID] = store.UserKey{Username: d.Name, Key: store.Key{Version: d.Key.Version}}
	}
	return versions, nil
}
