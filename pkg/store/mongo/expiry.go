package mongo

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/sealpost/sealpost/pkg/store"
)

// purging names the field of each collection whose documents the server removes by itself, about once a minute, when the moment
// that the field says has passed.
func (s *Store) purging() map[*driver.Collection]string {
	return map[*driver.Collection]string{s.inbox: "purgeAt", s.messages: "expiresAt", s.sessions: "expiresAt"}
}

// Purge erases and removes what has passed its time at now, and returns how many documents that were: for who cannot wait for the
// server and the next call of EraseExpired.
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

// eraseBatch is how many messages are erased by one update.
const eraseBatch = 500

// EraseExpired erases the contents of the messages that have expired at now, a bounded number at a time, and returns how many that
// were. Their ids and digests stay until they are purged. It may run on many nodes at once: what one has erased, the others do not
// find.
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

// erasure is the update that erases a message. The places go with the recipients, in whose order they are.
func erasure() bson.D {
	return bson.D{set("erased", true), {Key: "$unset", Value: fields(contentField, "iv", "recipients", "p")}}
}
