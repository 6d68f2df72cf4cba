package mongo

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/sealpost/sealpost/pkg/store"
)

// cursorDocument is the position of a session, or, with the canonical name alone as its id and no expiry, the furthest
// position of any session of the account.
type cursorDocument struct {
	ID        string    `bson:"_id"`
	Position  int64     `bson:"p"`
	Offered   int64     `bson:"offered"`
	Offers    int64     `bson:"offers"`
	ExpiresAt time.Time `bson:"expiresAt,omitempty"`
}

// sessionKey cannot meet the name of an account: those hold no slash.
func sessionKey(name, sessionID string) string { return name + "/" + sessionID }

// OpenSession implements store.Sessions.
func (s *Store) OpenSession(ctx context.Context, username, sessionID string, expiresAt time.Time) error {
	name := store.Canonical(username)
	furthest, err := s.cursor(ctx, name, sessionID)
	if err != nil {
		return err
	}
	_, err = insertOne(ctx, s.sessions, cursorDocument{ID: sessionKey(name, sessionID), Position: furthest.Position, ExpiresAt: expiresAt})
	return err
}

// SessionCursor implements store.Sessions.
func (s *Store) SessionCursor(ctx context.Context, username, sessionID string) (store.SessionCursor, error) {
	return s.cursor(ctx, store.Canonical(username), sessionID)
}

// cursor returns the session's, or the furthest position for a session that is not there.
func (s *Store) cursor(ctx context.Context, name, sessionID string) (c store.SessionCursor, err error) {
	found, err := all[cursorDocument](ctx, s.sessions, queryCursors(name, sessionID))
	for _, d := range found {
		c = store.SessionCursor{Position: d.Position, Offered: d.Offered, Offers: d.Offers}
		if d.ID != name {
			break
		}
	}
	return c, err
}

// OfferSession implements store.Sessions.
func (s *Store) OfferSession(ctx context.Context, username, sessionID string, seen store.SessionCursor, position int64) (bool, error) {
	key := sessionKey(store.Canonical(username), sessionID)
	unchanged := bson.D{eq("_id", key), eq("p", seen.Position), eq("offered", seen.Offered), offersAre(seen.Offers)}
	done, err := s.sessions.UpdateOne(ctx, unchanged, bson.D{set("offered", position), add("offers", 1)})
	if err != nil || done.MatchedCount == 1 {
		return err == nil, unavailable(err)
	}
	_, err = first[cursorDocument](ctx, s.sessions, byID(key))
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// offersAre matches how many offers a session had. Sessions that an earlier version opened do not count them yet.
func offersAre(n int64) bson.E {
	if n == 0 {
		return op("offers", "$in", bson.A{int64(0), nil})
	}
	return eq("offers", n)
}

// WithdrawOffer implements store.Sessions.
func (s *Store) WithdrawOffer(ctx context.Context, username, sessionID string, seen store.SessionCursor) error {
	key := sessionKey(store.Canonical(username), sessionID)
	_, err := s.sessions.UpdateOne(ctx, bson.D{eq("_id", key), eq("offers", seen.Offers+1)}, bson.D{set("offered", int64(0))})
	return unavailable(err)
}

// AdvanceSession implements store.Sessions.
func (s *Store) AdvanceSession(ctx context.Context, username, sessionID string, position int64) error {
	return s.moveSession(ctx, username, sessionID, bson.D{{Key: "$max", Value: bson.D{eq("p", position)}}})
}

// ResetSession implements store.Sessions.
func (s *Store) ResetSession(ctx context.Context, username, sessionID string, position int64) error {
	return s.moveSession(ctx, username, sessionID, bson.D{set("p", position)})
}

// moveSession updates the session's position first and the furthest second: if it dies between the two, a new session
// begins too early, not too late.
func (s *Store) moveSession(ctx context.Context, username, sessionID string, update bson.D) error {
	name := store.Canonical(username)
	moves := []driver.WriteModel{
		driver.NewUpdateOneModel().SetFilter(byID(sessionKey(name, sessionID)).filter).SetUpdate(update),
		driver.NewUpdateOneModel().SetFilter(byID(name).filter).SetUpdate(update).SetUpsert(true),
	}
	return upserted(func() error {
		_, err := s.sessions.BulkWrite(ctx, moves, options.BulkWrite().SetOrdered(true))
		return err
	})
}
