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

// cursorDocument is the cursor of a session. With only the canonical name as its id and no expiry, it is the furthest position of any
// session of the account.
type cursorDocument struct {
	ID        string    `bson:"_id"`
	Epoch     string    `bson:"epoch,omitempty"`
	Position  int64     `bson:"p"`
	Offered   int64     `bson:"offered"`
	Offers    int64     `bson:"offers"`
	ExpiresAt time.Time `bson:"expiresAt,omitempty"`
}

// sessionKey cannot collide with an account's name: names contain no slash.
func sessionKey(name, sessionID string) string { return name + "/" + sessionID }

// OpenSession implements store.Sessions.
func (s *Store) OpenSession(ctx context.Context, username, sessionID string, expiresAt time.Time) error {
	name := store.Canonical(username)
	furthest, err := s.cursor(ctx, name, sessionID)
	if err != nil {
		return err
	}
	_, err = insertOne(ctx, s.sessions, cursorDocument{ID: sessionKey(name, sessionID), Epoch: furthest.Epoch, Position: furthest.Position, ExpiresAt: expiresAt})
	return err
}

// begunKey is the id of a document that says that a session has begun to read in an epoch. Session ids contain no slash.
func begunKey(username, sessionID, epoch string) string {
	return sessionKey(store.Canonical(username), sessionID+"/"+epoch)
}

// BeginEpoch implements store.Sessions.
func (s *Store) BeginEpoch(ctx context.Context, username, sessionID, epoch string, expiresAt time.Time) error {
	_, err := insertOne(ctx, s.sessions, cursorDocument{ID: begunKey(username, sessionID, epoch), Epoch: epoch, ExpiresAt: expiresAt})
	return err
}

// BegunEpoch implements store.Sessions.
func (s *Store) BegunEpoch(ctx context.Context, username, sessionID, epoch string) (bool, error) {
	_, err := first[cursorDocument](ctx, s.sessionsLast, byID(begunKey(username, sessionID, epoch)))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// SessionCursor implements store.Sessions.
func (s *Store) SessionCursor(ctx context.Context, username, sessionID string) (store.SessionCursor, error) {
	return s.cursor(ctx, store.Canonical(username), sessionID)
}

// cursor returns the session's cursor, or the account's furthest for an unknown session.
func (s *Store) cursor(ctx context.Context, name, sessionID string) (c store.SessionCursor, err error) {
	found, err := all[cursorDocument](ctx, s.sessions, queryCursors(name, sessionID))
	if err != nil {
		return c, err
	}
	for _, d := range found {
		c = store.SessionCursor{Epoch: d.Epoch, Position: d.Position, Offered: d.Offered, Offers: d.Offers}
		if d.ID != name {
			break
		}
	}
	return c, nil
}

// OfferSession implements store.Sessions.
func (s *Store) OfferSession(ctx context.Context, username, sessionID string, seen store.SessionCursor, position int64) (bool, error) {
	key := sessionKey(store.Canonical(username), sessionID)
	unchanged := bson.D{eq("_id", key), epochIs(seen.Epoch), eq("p", seen.Position), eq("offered", seen.Offered), offersAre(seen.Offers)}
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

// epochIs matches the epoch of a session. Sessions opened by an earlier version have none.
func epochIs(epoch string) bson.E {
	if epoch == "" {
		return op("epoch", "$in", bson.A{"", nil})
	}
	return eq("epoch", epoch)
}

// offersAre matches the number of a session's offers. Sessions opened by an earlier version do not have it yet.
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
func (s *Store) AdvanceSession(ctx context.Context, username, sessionID, epoch string, position int64) error {
	return s.moveSession(ctx, username, sessionID, epoch, position, bson.A{epoch, ""})
}

// ResetSession implements store.Sessions.
func (s *Store) ResetSession(ctx context.Context, username, sessionID, epoch string, position int64) error {
	return s.moveSession(ctx, username, sessionID, epoch, position, bson.A{epoch})
}

// moveSession moves a position forward if its epoch is in same, and replaces it otherwise: first the session's, then the furthest. If the
// process dies in between, a new session starts too early, not too late.
func (s *Store) moveSession(ctx context.Context, username, sessionID, epoch string, position int64, same bson.A) error {
	name := store.Canonical(username)
	isSame := bson.D{{Key: "$in", Value: bson.A{ifNull("$epoch", ""), same}}}
	update := bson.A{bson.D{{Key: "$set", Value: bson.D{
		{Key: "p", Value: cond(isSame, bson.D{{Key: "$max", Value: bson.A{"$p", position}}}, position)},
		{Key: "offered", Value: cond(isSame, ifNull("$offered", int64(0)), int64(0))},
		{Key: "epoch", Value: epoch},
	}}}}
	moves := []driver.WriteModel{
		driver.NewUpdateOneModel().SetFilter(byID(sessionKey(name, sessionID)).filter).SetUpdate(update),
		driver.NewUpdateOneModel().SetFilter(byID(name).filter).SetUpdate(update).SetUpsert(true),
	}
	return upserted(func() error {
		_, err := s.sessions.BulkWrite(ctx, moves, options.BulkWrite().SetOrdered(true))
		return err
	})
}

func ifNull(field string, otherwise any) bson.D {
	return bson.D{{Key: "$ifNull", Value: bson.A{field, otherwise}}}
}

func cond(condition bson.D, then, otherwise any) bson.D {
	return bson.D{{Key: "$cond", Value: bson.A{condition, then, otherwise}}}
}
