package mongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/sealpost/sealpost/pkg/store"
)

// purging names the TTL field of each collection: the server removes documents when that time has passed, about once a minute.
func (s *Store) purging() map[*driver.Collection]string {
	return map[*driver.Collection]string{s.inbox: "purgeAt", s.messages: "expiresAt", s.sessions: "expiresAt"}
}

// Purge erases and removes what is past its time at now, and returns the number of documents. It is for callers that cannot wait for the
// server and the next EraseExpired.
func (s *Store) Purge(ctx context.Context, now time.Time) (removed int64, err error) {
	removed, err = s.EraseExpired(ctx, now)
	if err != nil {
		return removed, err
	}
	for collection, field := range s.purging() {
		done, err := collection.DeleteMany(ctx, due(field, now))
		if err != nil {
			return removed, unavailable(err)
		}
		removed += done.DeletedCount
	}
	return removed, nil
}

// eraseBatch is how many messages one update erases.
const eraseBatch = 500

// EraseExpired erases the contents of messages that have expired at now, a bounded number at a time, and returns their number. Ids and
// digests stay until they are purged. Many nodes may run it at once: a node does not find what another has erased.
func (s *Store) EraseExpired(ctx context.Context, now time.Time) (erased int64, err error) {
	for {
		found, err := all[messageDocument](ctx, s.messages, queryErasable(now, eraseBatch))
		if err != nil || len(found) == 0 {
			return erased, err
		}
		ids := make([]store.MessageID, len(found))
		for i, d := range found {
			ids[i] = store.MessageID(d.ID)
		}
		done, err := s.messages.UpdateMany(ctx, queryMessages(objectIDs(ids)).filter, erasure())
		if err != nil {
			return erased, unavailable(err)
		}
		erased += done.ModifiedCount
		if len(found) < eraseBatch {
			return erased, nil
		}
	}
}

// erasure is the update that erases a message. Positions go with the recipients, whose order they follow.
func erasure() bson.D {
	return bson.D{set("erased", true), {Key: "$unset", Value: fields(contentField, "iv", "recipients", "p")}}
}
