package httpapi

import (
	"context"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// advanceTimeout bounds the write of a session's cursor after an answer.
const advanceTimeout = 3 * time.Second

// legacyPoll serves clients that keep no cursor: one message a poll, after the session's own cursor, which moves once
// the answer has been written. An answer that could not be written is thus given again.
func (a *API) legacyPoll(c *gin.Context) error {
	q := a.defaultQuery(c)
	q.Limit = 1
	ctx := c.Request.Context()
	seen, err := a.sessionCursor(ctx, q)
	if err != nil {
		return err
	}
	q.After = seen.Position
	answer, err := a.Gateway.Poll(ctx, q)
	if err != nil {
		return err
	}
	if answer.Reset {
		return a.legacyReset(c, q)
	}
	return a.answerLegacy(c, q, seen, answer)
}

// legacyReset starts a session over after the log has gone back: what it holds is delivered from its beginning.
func (a *API) legacyReset(c *gin.Context, q gateway.Query) error {
	ctx := c.Request.Context()
	if err := a.Sessions.ResetSession(ctx, q.Caller.Subject, q.Caller.SessionID, 0); err != nil {
		return err
	}
	seen, err := a.Sessions.SessionCursor(ctx, q.Caller.Subject, q.Caller.SessionID)
	if err != nil {
		return err
	}
	q.After = seen.Position
	answer, err := a.Gateway.Poll(ctx, q)
	if err != nil {
		return err
	}
	return a.answerLegacy(c, q, seen, answer)
}

func (a *API) answerLegacy(c *gin.Context, q gateway.Query, seen store.SessionCursor, answer gateway.Answer) error {
	epoch, err := a.Epochs.Current(c.Request.Context())
	if err != nil {
		return err
	}
	session := q.Caller.SessionID
	a.inFlight.lock(session)
	defer a.inFlight.unlock(session)
	offered, err := a.offer(c.Request.Context(), q, seen, answer)
	if err != nil {
		return err
	}
	if !offered { // another poll of the session is being answered: this one has nothing to tell
		return write(c, legacyFrame(gateway.Answer{Position: q.After}, epoch), answer.Close)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), advanceTimeout)
	defer cancel()
	if err := write(c, legacyFrame(answer, epoch), answer.Close); err != nil {
		a.withdraw(ctx, q, answer)
		return nil
	}
	if answer.Position == q.After {
		return nil
	}
	// The answer is out; if the cursor cannot be moved now, the client is given the message once more.
	_ = a.Sessions.AdvanceSession(ctx, q.Caller.Subject, session, answer.Position)
	return nil
}
