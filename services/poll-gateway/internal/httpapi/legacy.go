package httpapi

import (
	"context"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/tracing"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// advanceTimeout bounds the write of a session's cursor after an answer.
const advanceTimeout = 3 * time.Second

// session is a client that keeps no cursor of its own.
type session struct {
	user, id string
	// seen is where the cursor stood when the poll began.
	seen store.SessionCursor
}

// legacyPoll serves clients that keep no cursor: one message a poll, after the session's own cursor, which moves once
// the answer has been written. An answer that could not be written is thus given again.
func (a *API) legacyPoll(c *gin.Context) error {
	q := a.defaultQuery(c)
	q.Limit = 1
	s := &session{user: q.Caller.Subject, id: q.Caller.SessionID}
	var err error
	if s.seen, err = a.sessionCursor(c.Request.Context(), s); err != nil {
		return err
	}
	q.After = s.seen.Position
	answer, later, err := a.await(c, q, s)
	if later || err != nil {
		return err
	}
	if answer.Reset {
		return a.legacyReset(c, q, s)
	}
	return a.answerLegacy(c, s, answer)
}

// legacyReset starts a session over after the log has gone back: what it holds is delivered from its beginning.
func (a *API) legacyReset(c *gin.Context, q gateway.Query, s *session) error {
	ctx := c.Request.Context()
	epoch, err := a.Epochs.Current(ctx)
	if err != nil {
		return err
	}
	if err = a.Sessions.ResetSession(ctx, s.user, s.id, epoch, 0); err != nil {
		return err
	}
	if s.seen, err = a.Sessions.SessionCursor(ctx, s.user, s.id); err != nil {
		return err
	}
	q.After = s.seen.Position
	answer, err := a.Gateway.Poll(ctx, q)
	if err != nil {
		return err
	}
	return a.answerLegacy(c, s, answer)
}

func (a *API) answerLegacy(c *gin.Context, s *session, answer gateway.Answer) error {
	epoch, err := a.Epochs.Current(c.Request.Context())
	if err != nil {
		return err
	}
	release, err := a.Unread.reserve(s.user, answer)
	if err != nil {
		return err
	}
	defer release()
	return a.deliver(c.Request.Context(), s, answer, func(answer gateway.Answer) error {
		spans := a.delivering(answer, tracing.Sampled(c.Request.Context()))
		err := write(c, legacyFrame(answer, epoch), answer.Close)
		spans.end(err)
		return err
	})
}

// deliver has an answer written and then moves the session's cursor. An error means that nothing has been written.
func (a *API) deliver(ctx context.Context, s *session, answer gateway.Answer, write func(gateway.Answer) error) error {
	a.inFlight.lock(s.id)
	defer a.inFlight.unlock(s.id)
	offered, err := a.offer(ctx, s, answer)
	if err != nil {
		return err
	}
	if !offered { // another poll of the session is being answered: this one has nothing to tell
		_ = write(gateway.Answer{Position: s.seen.Position, Close: answer.Close})
		return nil
	}
	failed := write(answer)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), advanceTimeout)
	defer cancel()
	switch {
	case failed != nil:
		a.withdraw(ctx, s, answer)
	case answer.Position != s.seen.Position:
		// The answer is out; if the cursor cannot be moved now, the client is given the message once more.
		epoch, err := a.Epochs.Current(ctx)
		if err == nil {
			err = a.Sessions.AdvanceSession(ctx, s.user, s.id, epoch, answer.Position)
		}
		if err != nil {
			a.Log.WarnContext(ctx, "the cursor of a session was not moved: what it was given comes once more", "error", err.Error())
		}
	}
	return nil
}
