package mongo

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// indexes are those besides _id, by collection. The promises of the log rest on the unique one: it must never be dropped
// while the service runs.
func (s *Store) indexes() map[*driver.Collection][]driver.IndexModel {
	all := map[*driver.Collection][]driver.IndexModel{
		s.inbox: {{Keys: both("u", "s"), Options: options.Index().SetUnique(true)}},
		// Only of the messages that still hold a content: see EraseExpired.
		s.messages: {{Keys: ascending("expiresAt"), Options: options.Index().SetName("contents").SetPartialFilterExpression(bson.D{op(contentField, "$exists", true)})}},
		s.keys:     {{Keys: both("u", "v")}},
	}
	for collection, field := range s.purging() {
		all[collection] = append(all[collection], expiry(field))
	}
	return all
}

// contentField is absent from a message whose content has been erased.
const contentField = "content"

// surpassed is the name of an index by which an earlier version had the server remove messages as soon as they expired. A node of
// that version that starts later makes it once more; the next start of one of this version removes it.
const surpassed = "expiresAt_1"

// dropSurpassed drops the index of that name. Other nodes may do so at the same time.
func (s *Store) dropSurpassed(ctx context.Context) error {
	present, err := s.messages.Indexes().ListSpecifications(ctx)
	if err != nil {
		return err
	}
	for _, index := range present {
		if index.Name == surpassed {
			if err := s.messages.Indexes().DropOne(ctx, surpassed); err != nil && !hasCode(err, indexNotFound) {
				return err
			}
		}
	}
	return nil
}

func both(first, second string) bson.D {
	return bson.D{{Key: first, Value: 1}, {Key: second, Value: 1}}
}

// expiry removes a document some time after the moment that its field says.
func expiry(field string) driver.IndexModel {
	return driver.IndexModel{Keys: ascending(field), Options: options.Index().SetExpireAfterSeconds(0)}
}

// The codes of an index that is there in another form; waiting does not help.
const (
	indexOptionsConflict     = 85
	indexKeySpecsConflict    = 86
	indexNotFound            = 27
	maxIndexCreationInterval = time.Second
)

// createIndexes makes the indexes that are missing. All nodes do so when they start, perhaps at once, and a server may
// refuse one of two that make the same index or collection: it is tried again until ctx ends.
func (s *Store) createIndexes(ctx context.Context) error {
	for interval := 10 * time.Millisecond; ; interval = min(2*interval, maxIndexCreationInterval) {
		err := s.tryIndexes(ctx)
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
	if err := s.dropSurpassed(ctx); err != nil {
		return err
	}
	for collection, models := range s.indexes() {
		if _, err := collection.Indexes().CreateMany(ctx, models); err != nil {
			return err
		}
	}
	return nil
}

func permanent(err error) bool {
	return errors.Is(err, driver.ErrClientDisconnected) ||
		hasCode(err, indexOptionsConflict, indexKeySpecsConflict, 13 /* unauthorized */, 18 /* authentication failed */)
}

// hasCode reports whether a server gave one of the codes as the reason of an error.
func hasCode(err error, codes ...int) bool {
	var server driver.ServerError
	return errors.As(err, &server) && slices.ContainsFunc(codes, server.HasErrorCode)
}
