package httpapi

import (
	"context"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// A session's polls may come to different nodes, one right after the other. So that none is answered with what another
// is being answered with, a node notes its answer as an offer before it writes it, and who finds an offer waits for the
// cursor to move past it.
const (
	// offerPatience is how long: longer than writing an answer and moving the cursor take, unless the node has died.
	offerPatience = 2 * time.Second
	// offerRecheck is how often the cursor is looked at meanwhile.
	offerRecheck = 25 * time.Millisecond
)

// sessionCursor is the cursor of a session, once no answer to it is under way.
func (a *API) sessionCursor(ctx context.Context, s *session) (store.SessionCursor, error) {
	// Of this node's own answers it is known when they have been written.
	a.inFlight.lock(s.id)
	seen, err := a.Sessions.SessionCursor(ctx, s.user, s.id)
	a.inFlight.unlock(s.id)
	if a.Alone {
		return seen, err
	}
	patience := time.NewTimer(offerPatience)
	defer patience.Stop()
	for err == nil && seen.Offered > seen.Position {
		select {
		case <-time.After(offerRecheck):
			seen, err = a.Sessions.SessionCursor(ctx, s.user, s.id)
		case <-patience.C:
			return seen, nil // its node has died: what it offered is offered again
		case <-ctx.Done():
			return seen, ctx.Err()
		}
	}
	return seen, err
}

// offer notes that an answer with a message is about to be written; false means that another one is.
func (a *API) offer(ctx context.Context, s *session, answer gateway.Answer) (bool, error) {
	if len(answer.Objects) == 0 {
		return true, nil
	}
	if a.Alone { // the session's answers are written one after the other: whether one came before, its cursor tells
		now, err := a.Sessions.SessionCursor(ctx, s.user, s.id)
		return now.Position == s.seen.Position, err
	}
	return a.Sessions.OfferSession(ctx, s.user, s.id, s.seen, answer.Position)
}

// withdraw takes the offer of an answer back that could not be written. If that fails, too, the next poll waits a little.
func (a *API) withdraw(ctx context.Context, s *session, answer gateway.Answer) {
	if a.Alone || len(answer.Objects) == 0 {
		return
	}
	if err := a.Sessions.WithdrawOffer(ctx, s.user, s.id, s.seen); err != nil {
		a.Log.WarnContext(ctx, "an answer that was not written was not taken back: the session's next poll waits for it", "error", err.Error())
	}
}
