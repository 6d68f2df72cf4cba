package httpapi

import (
	"context"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// Polls of one session may come to different nodes at almost the same time. To keep them from giving the same answer, a node notes its
// answer as an offer before it writes it. A node that finds an offer waits for the cursor to pass it. The states of a
// cursor and what leads from one to the other are a table that every store is tested by: storetest.sessionEvents.
const (
	// offerPatience is how long it waits: longer than it takes to write an answer and move the cursor, unless the node has died.
	offerPatience = 2 * time.Second
	// offerRecheck is how often it reads the cursor meanwhile.
	offerRecheck = 25 * time.Millisecond
)

// sessionCursor reads a session cursor once no answer to the session is under way.
func (a *API) sessionCursor(ctx context.Context, s *session) (store.SessionCursor, error) {
	// The lock waits for the answers of this node.
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
			return seen, nil // the other node has died: its offer is offered again
		case <-ctx.Done():
			return seen, ctx.Err()
		}
	}
	return seen, err
}

// offer notes that an answer with a message is about to be written; false means that another poll is getting it.
func (a *API) offer(ctx context.Context, s *session, answer gateway.Answer) (bool, error) {
	if len(answer.Objects) == 0 {
		return true, nil
	}
	if a.Alone { // this node writes the session's answers one after the other: the cursor shows the ones before
		now, err := a.Sessions.SessionCursor(ctx, s.user, s.id)
		return now.Position == s.seen.Position, err
	}
	return a.Sessions.OfferSession(ctx, s.user, s.id, s.seen, answer.Position)
}

// withdraw removes the offer of an answer that could not be written. If that fails too, the session's next poll waits a little.
func (a *API) withdraw(ctx context.Context, s *session, answer gateway.Answer) {
	if a.Alone || len(answer.Objects) == 0 {
		return
	}
	if err := a.Sessions.WithdrawOffer(ctx, s.user, s.id, s.seen); err != nil {
		a.Log.WarnContext(ctx, "an answer that was not written was not taken back: the session's next poll waits for it", "error", err.Error())
	}
}
