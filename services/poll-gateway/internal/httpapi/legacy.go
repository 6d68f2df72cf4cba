package httpapi

import (
	"context"
	"time"

	"github.com/gin-gonic/gin"

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
	session := q.Caller.SessionID
	// Wait for the cursor to move past what this session's last poll was answered with.
	a.inFlight.lock(session)
	position, err := a.Sessions.SessionCursor(ctx, q.Caller.Subject, session)
	a.inFlight.unlock(session)
	if err != nil {
		return err
	}
	q.After = position
	answer, err := a.Gateway.Poll(ctx, q)
	if err != nil {
		return err
	}
	if answer.Reset {
		return a.legacyReset(c, q)
	}
	return a.answerLegacy(c, q, answer)
}

// legacyReset starts a session over after the log has gone back: what it holds is delivered from its beginning.
func (a *API) legacyReset(c *gin.Context, q gateway.Query) error {
	ctx := c.Request.Context()
	if err := a.Sessions.ResetSession(ctx, q.Caller.Subject, q.Caller.SessionID, 0); err != nil {
		return err
	}
	q.After = 0
	answer, err := a.Gateway.Poll(ctx, q)
	if err != nil {
		return err
	}
	return a.answerLegacy(c, q, answer)
}

func (a *API) answerLegacy(c *gin.Context, q gateway.Query, answer gateway.Answer) error {
	epoch, err := a.Epochs.Current(c.Request.Context())
	if err != nil {
		return err
	}
	session := q.Caller.SessionID
	a.inFlight.lock(session)
	defer a.inFlight.unlock(session)
	if err := write(c, legacyFrame(answer, epoch), answer.Close); err != nil || answer.Position == q.After {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Request.Context()), advanceTimeout)
	defer cancel()
	// The answer is out; if the cursor cannot be moved now, the client is given the message once more.
	_ = a.Sessions.AdvanceSession(ctx, q.Caller.Subject, session, answer.Position)
	return nil
}
