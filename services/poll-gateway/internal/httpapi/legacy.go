package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/tracing"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// advanceTimeout limits the write of a session cursor after an answer.
const advanceTimeout = 3 * time.Second

// session is a client that keeps no cursor.
type session struct {
	user, id string
	// epoch is the log's epoch when the poll began; seen is the session cursor at that time.
	epoch string
	seen  store.SessionCursor
	// received is the position in the cookie that came with the poll, or 0.
	received int64
	// from is where the poll continues: at the session cursor, or where the client shows that it stands.
	from int64
}

// continueFrom finds where the session's client continues. The cursor moves when an answer is written, but a proxy may have taken that
// answer for a client that had gone, or for a network that was dead. Only the client knows: the cookie of the last answer that reached it
// comes with its next poll. It never shows more than the cursor does: a client keeps a cookie when the header is there, though the connection may
// break before the message is. Without a cookie the server takes the answer as received.
func (s *session) continueFrom(r *http.Request) {
	received, there := api.ParseReadCookie(r, s.id)
	switch {
	case !there:
		s.from = s.seen.Position
	case received.Epoch == s.epoch:
		s.received = received.Position
		s.from = min(s.received, s.seen.Position)
	default:
		s.from = 0 // it has received nothing of this epoch yet
	}
}

// cookie is the header that goes with an answer: see api.ReadCookie. An answer without a message takes nothing back that the client has shown:
// it may come from a node that has read an old cursor.
func (s *session) cookie(a gateway.Answer) string {
	position := a.Position
	if len(a.Objects) == 0 {
		position = max(position, s.received)
	}
	return api.ReadCookie{Session: s.id, Epoch: s.epoch, Position: position}.String()
}

// legacyPoll serves clients that keep no cursor: one message per poll, after the session cursor. The cursor moves after the answer was
// written, so an answer that could not be written is given again.
func (a *API) legacyPoll(c *gin.Context) error {
	ctx := c.Request.Context()
	if _, err := a.query(c); err != nil { // checked, and not used
		return err
	}
	q := a.defaultQuery(c)
	q.Limit = 1
	s := &session{user: q.Caller.Subject, id: q.Caller.SessionID}
	if err := a.openSession(ctx, s); err != nil {
		return err
	}
	s.continueFrom(c.Request)
	q.After, q.KeepsPlace = s.from, s.seen.Epoch != ""
	answer, later, err := a.await(c, q, waiting{epoch: s.epoch, session: s})
	if later || err != nil {
		return err
	}
	return a.answerLegacy(c, s, answer)
}

// openSession reads the session cursor. Only a new epoch resets it, to the beginning: everything in the new log is delivered.
func (a *API) openSession(ctx context.Context, s *session) (err error) {
	if s.epoch, err = a.Gateway.Epochs().Current(ctx); err != nil {
		return err
	}
	if s.seen, err = a.sessionCursor(ctx, s); err != nil || s.seen.Epoch == "" || s.seen.Epoch == s.epoch {
		return err
	}
	// The session may have seen a new epoch before this node has.
	same, err := a.Gateway.Epochs().Is(ctx, s.seen.Epoch)
	if err != nil {
		return err
	}
	if same {
		s.epoch = s.seen.Epoch
		return nil
	}
	if err := a.resetSession(ctx, s); err != nil {
		return err
	}
	s.seen, err = a.Sessions.SessionCursor(ctx, s.user, s.id)
	return err
}

// resetSession resets a session to the beginning of the current epoch.
func (a *API) resetSession(ctx context.Context, s *session) (err error) {
	if s.epoch, err = a.Gateway.Epochs().Current(ctx); err != nil {
		return err
	}
	return a.Sessions.ResetSession(ctx, s.user, s.id, s.epoch, 0)
}

// answerLegacy answers a session. If the epoch has changed, it resets the session and answers with a timeout.
func (a *API) answerLegacy(c *gin.Context, s *session, answer gateway.Answer) error {
	if answer.Reset {
		if err := a.resetSession(c.Request.Context(), s); err != nil {
			return err
		}
		s.seen, s.from, s.received, answer = store.SessionCursor{Epoch: s.epoch}, 0, 0, gateway.Answer{}
	}
	release, err := a.Unread.reserve(c, answer)
	if err != nil {
		return err
	}
	defer release()
	return a.deliver(c.Request.Context(), s, answer, func(answer gateway.Answer) error {
		spans := a.delivering(answer, tracing.Sampled(c.Request.Context()))
		c.Header("Set-Cookie", s.cookie(answer))
		err := write(c, legacyFrame(answer, s.epoch), answer.Close)
		spans.end(err)
		return err
	})
}

// deliver writes an answer and then moves the session cursor. An error means that nothing has been written.
func (a *API) deliver(ctx context.Context, s *session, answer gateway.Answer, write func(gateway.Answer) error) error {
	a.inFlight.lock(s.id)
	defer a.inFlight.unlock(s.id)
	offered, err := a.offer(ctx, s, answer)
	if err != nil {
		return err
	}
	if !offered { // another poll of the session is getting this answer: send a timeout
		_ = write(gateway.Answer{Position: s.from, Close: answer.Close})
		return nil
	}
	failed := write(answer)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), advanceTimeout)
	defer cancel()
	switch {
	case failed != nil:
		a.withdraw(ctx, s, answer)
	case answer.Position != s.seen.Position:
		// The answer is out. If the cursor cannot be moved, the client gets the message once more.
		if err := a.Sessions.AdvanceSession(ctx, s.user, s.id, s.epoch, answer.Position); err != nil {
			a.Log.WarnContext(ctx, "the cursor of a session was not moved: what it was given comes once more", "error", err.Error())
		}
	}
	return nil
}
