package mongo

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sealpost/sealpost/pkg/store"
)

type metaDocument struct {
	Name  string `bson:"_id"`
	Value []byte `bson:"value"`
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
	err := upserted(func() error {
		_, err := s.meta.UpdateOne(ctx, byID(epochName).filter, bson.D{set("value", []byte(epoch))}, options.UpdateOne().SetUpsert(true))
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
	inserted, err := insertOne(ctx, s.meta, metaDocument{Name: name, Value: value})
	if err != nil || inserted {
		return value, err
	}
	return s.Value(ctx, name)
}

// Value implements store.Meta.
func (s *Store) Value(ctx context.Context, name string) ([]byte, error) {
	standing, err := first[metaDocument](ctx, s.metaLast, byID(name))
	return standing.Value, err
}
