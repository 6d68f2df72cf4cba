package mongo

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sealpost/sealpost/pkg/store"
)

// userDocument is an account. Its current key is part of it, so that both change in one step.
type userDocument struct {
	ID         string    `bson:"_id"`
	Name       string    `bson:"name"`
	Hash       string    `bson:"hash"`
	Generation int64     `bson:"generation"`
	CreatedAt  time.Time `bson:"createdAt"`
	LastLogin  time.Time `bson:"lastLogin"`
	Key        keyFields `bson:"key"`
	// KeyProtected is protectedField.
	KeyProtected bool `bson:"keyProtected,omitempty"`
	// Addresses are store.AddressMarks, the latest first.
	Addresses []int64 `bson:"addresses,omitempty"`
}

// protectedField is true in the documents of accounts whose key is replaced with the password only, and missing in others.
const protectedField = "keyProtected"

func (d userDocument) account() store.Account {
	return store.Account{
		Username: d.Name, PasswordHash: d.Hash, Generation: d.Generation, CreatedAt: d.CreatedAt, LastLogin: d.LastLogin, Key: d.Key.key(),
		KeyProtected:   d.KeyProtected,
		KnownAddresses: convertMarks[store.AddressMark](d.Addresses),
	}
}

// convertMarks returns marks as another type of the same size; nil for none.
func convertMarks[To, From int64 | store.AddressMark](marks []From) []To {
	var converted []To
	for _, m := range marks {
		converted = append(converted, To(m))
	}
	return converted
}

func set(field string, value any) bson.E {
	return bson.E{Key: "$set", Value: bson.D{{Key: field, Value: value}}}
}

func add(field string, n int64) bson.E {
	return bson.E{Key: "$inc", Value: bson.D{{Key: field, Value: n}}}
}

// CreateAccount implements store.Accounts.
func (s *Store) CreateAccount(ctx context.Context, a store.Account) error {
	inserted, err := insertOne(ctx, s.users, userDocument{
		ID: store.Canonical(a.Username), Name: a.Username, Hash: a.PasswordHash, Generation: a.Generation,
		CreatedAt: a.CreatedAt, LastLogin: a.LastLogin, Key: fieldsOf(a.Key), KeyProtected: a.KeyProtected, Addresses: convertMarks[int64](a.KnownAddresses),
	})
	if err == nil && !inserted {
		return store.ErrUsernameTaken
	}
	return err
}

// Account implements store.Accounts.
func (s *Store) Account(ctx context.Context, username string) (store.Account, error) {
	d, err := first[userDocument](ctx, s.users, byID(store.Canonical(username)))
	return d.account(), err
}

// RecordLogin implements store.Accounts.
func (s *Store) RecordLogin(ctx context.Context, username string, l store.Login) error {
	var changes bson.D
	if !l.At.IsZero() {
		changes = append(changes, bson.E{Key: "lastLogin", Value: l.At})
	}
	if mark := int64(l.From); mark != 0 {
		changes = append(changes, bson.E{Key: "addresses", Value: remember(mark)})
	}
	if changes == nil {
		return nil
	}
	_, err := s.updateAccount(ctx, byID(store.Canonical(username)).filter, bson.A{bson.D{{Key: "$set", Value: changes}}})
	return err
}

// remember is store.Remember as an expression, so that concurrent logins lose nothing.
func remember(mark int64) bson.D {
	others := bson.D{{Key: "$filter", Value: bson.D{
		{Key: "input", Value: ifNull("$addresses", bson.A{})}, {Key: "cond", Value: bson.D{{Key: "$ne", Value: bson.A{"$$this", mark}}}},
	}}}
	all := bson.D{{Key: "$concatArrays", Value: bson.A{bson.A{mark}, others}}}
	return bson.D{{Key: "$slice", Value: bson.A{all, store.MostKnownAddresses}}}
}

// RaiseGeneration implements store.Accounts.
func (s *Store) RaiseGeneration(ctx context.Context, username string) (generation int64, err error) {
	return s.updateAccount(ctx, byID(store.Canonical(username)).filter, bson.D{add("generation", 1)})
}

// ReplaceHash implements store.Accounts.
func (s *Store) ReplaceHash(ctx context.Context, username, oldHash, newHash string) error {
	_, err := s.updateIfHash(ctx, username, oldHash, bson.D{set("hash", newHash)})
	return err
}

// ChangePassword implements store.Accounts.
func (s *Store) ChangePassword(ctx context.Context, username, oldHash, newHash string) (generation int64, err error) {
	return s.updateIfHash(ctx, username, oldHash, bson.D{set("hash", newHash), add("generation", 1)})
}

// updateIfHash updates an account while a password hash is stored, or returns ErrConflict.
func (s *Store) updateIfHash(ctx context.Context, username, hash string, update bson.D) (generation int64, err error) {
	name := store.Canonical(username)
	generation, err = s.updateAccount(ctx, bson.D{eq("_id", name), eq("hash", hash)}, update)
	if !errors.Is(err, store.ErrNotFound) {
		return generation, err
	}
	if _, err := s.Account(ctx, name); err != nil {
		return 0, err
	}
	return 0, store.ErrConflict
}

// updateAccount updates the one account that filter matches and returns its generation afterwards.
func (s *Store) updateAccount(ctx context.Context, filter bson.D, update any) (generation int64, err error) {
	var d userDocument
	err = s.users.FindOneAndUpdate(ctx, filter, update,
		options.FindOneAndUpdate().SetReturnDocument(options.After).SetProjection(fields("generation"))).Decode(&d)
	return d.Generation, unavailable(err)
}
