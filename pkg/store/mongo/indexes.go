package mongo

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// indexes are the indexes besides _id, by collection. The log's promises rest on _id, which every collection has.
func (s *Store) indexes() map[*driver.Collection][]driver.IndexModel {
	all := map[*driver.Collection][]driver.IndexModel{
		s.messages: {erasable()},
		s.keys:     {{Keys: both("u", "v")}},
	}
	for collection, field := range s.purging() {
		all[collection] = append(all[collection], expiry(field))
	}
	return all
}

// erasable indexes the messages to be erased: those that expire before they are purged and still have their content.
func erasable() driver.IndexModel {
	some := bson.D{op("eraseAt", "$exists", true), op(contentField, "$exists", true)}
	return driver.IndexModel{Keys: ascending("eraseAt"), Options: options.Index().SetName("erasable").SetPartialFilterExpression(some)}
}

// contentField is missing in messages whose content has been erased.
const contentField = "content"

func both(first, second string) bson.D {
	return bson.D{{Key: first, Value: 1}, {Key: second, Value: 1}}
}

// expiry removes a document some time after the time in its field.
func expiry(field string) driver.IndexModel {
	return driver.IndexModel{Keys: ascending(field), Options: options.Index().SetExpireAfterSeconds(0)}
}

// Error codes for an index that exists in another form; retrying does not help.
const (
	indexOptionsConflict     = 85
	indexKeySpecsConflict    = 86
	maxIndexCreationInterval = time.Second
)

// prepare creates missing indexes, unless the database has another schema. All nodes do this when they start, perhaps at once, and a server
// may refuse one of two that create the same index or collection. So prepare retries until ctx ends.
func (s *Store) prepare(ctx context.Context) error {
	for interval := 10 * time.Millisecond; ; interval = min(2*interval, maxIndexCreationInterval) {
		err := s.checkSchema(ctx)
		if errors.Is(err, errOtherSchema) {
			return err
		}
		if err == nil {
			err = s.tryIndexes(ctx)
		}
		if err == nil || permanent(err) {
			return unavailable(err)
		}
		select {
		case <-time.After(interval/2 + rand.N(interval)):
		case <-ctx.Done():
			return unavailable(errors.Join(ctx.Err(), err))
		}
	}
}

func (s *Store) tryIndexes(ctx context.Context) error {
	for collection, models := range s.indexes() {
		if _, err := collection.Indexes().CreateMany(ctx, models); err != nil {
			return err
		}
	}
	return nil
}

func permanent(err error) bool {
	var server driver.ServerError
	if !errors.As(err, &server) {
		return errors.Is(err, driver.ErrClientDisconnected)
	}
	for _, code := range []int{indexOptionsConflict, indexKeySpecsConflict, 13 /* unauthorized */, 18 /* authentication failed */} {
		if server.HasErrorCode(code) {
			return true
		}
	}
	return false
}
