// Package httpapi is the HTTP API of the poll gateway.
package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/tracing"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/parking"
)

const (
	defaultLimit = 100
	// heartbeat is the longest time for which nothing is written to a stream, so that no proxy takes it for dead.
	heartbeat = 15 * time.Second
)

// Sessions keeps the session cursors. See store.Sessions.
type Sessions interface {
	SessionCursor(ctx context.Context, username, sessionID string) (store.SessionCursor, error)
	OfferSession(ctx context.Context, username, sessionID string, seen store.SessionCursor, position int64) (bool, error)
	WithdrawOffer(ctx context.Context, username, sessionID string, seen store.SessionCursor) error
	AdvanceSession(ctx context.Context, username, sessionID, epoch string, position int64) error
	ResetSession(ctx context.Context, username, sessionID, epoch string, position int64) error
	BeginEpoch(ctx context.Context, username, sessionID, epoch string, expiresAt time.Time) error
	BegunEpoch(ctx context.Context, username, sessionID, epoch string) (bool, error)
}

// API answers polls and streams.
type API struct {
	Gateway  *gateway.Gateway
	Sessions Sessions
	Tokens   httpserver.TokenChecker
	Limiter  ratelimit.Limiter
	// PollWait is how long a poll waits that does not say how long.
	PollWait time.Duration
	// Lot parks the connections of polls that wait; if nil, each poll waits in its handler.
	Lot *parking.Lot
	// LeastWait is the shortest wait for which taking over a connection pays.
	LeastWait time.Duration
	// ParkAfter is how long a poll waits in its handler before its connection is taken over: a poll that is answered soon costs less there.
	// At most MaxUnparked polls do so at once.
	ParkAfter   time.Duration
	MaxUnparked int32

	// Log gets the failures after the client has its answer.
	Log *slog.Logger

	// Tracer makes the spans of deliveries; nil makes none.
	Tracer trace.Tracer

	// Unread limits the unread bytes of answers that are given at once.
	Unread *Unread

	// Alone means that no other node serves the sessions: then this node knows of all answers under way.
	Alone bool

	inFlight keyedMutex
	// begun holds the sessions that are known to have begun to read in an epoch.
	begun begunSessions
	// unparked counts the polls that wait in their handlers before a takeover.
	unparked atomic.Int32
	// workers write the answers of parked polls.
	workers workers
}

// Routes adds the gateway's routes.
func (a *API) Routes(r gin.IRouter) {
	table := a.errors()
	polls := r.Group("/api/messages", httpserver.RequireToken(a.Tokens), httpserver.LimitUser(a.Limiter))
	polls.GET("/poll", table.Handle(a.poll))
	streams := r.Group("/api/messages", httpserver.EventStream, httpserver.RequireToken(a.Tokens), httpserver.LimitUser(a.Limiter))
	streams.GET("/stream", table.Handle(a.stream))
}

func (a *API) errors() httpserver.ErrorTable {
	return append(httpserver.TokenErrors(),
		httpserver.ErrorRow{Err: store.ErrUnavailable, Answer: httpserver.UnavailableAnswer("the message store")},
		httpserver.ErrorRow{Err: gateway.ErrTooManyPolls, Answer: func(error) *api.Error {
			return api.New(http.StatusTooManyRequests, api.CodeRateLimited, "too many polls of this account are open")
		}},
		httpserver.ErrorRow{Err: gateway.ErrAtCapacity, Answer: func(error) *api.Error {
			return refused(api.CodeAtCapacity, "this server holds as many polls as it can")
		}},
		httpserver.ErrorRow{Err: errUnread, Answer: func(error) *api.Error {
			return refused(api.CodeAtCapacity, "this server holds as many answers for slow clients as it can")
		}},
		httpserver.ErrorRow{Err: gateway.ErrDraining, Answer: func(error) *api.Error {
			return refused(api.CodeDraining, "this server is about to stop: connect again")
		}},
	)
}

func refused(code api.Code, message string) *api.Error {
	e := api.New(http.StatusServiceUnavailable, code, message)
	e.RetryAfter = httpserver.RetryAfter(2 * time.Second)
	return e
}

func (a *API) poll(c *gin.Context) error {
	if httpserver.IsHead(c) { // neither waits nor takes a message
		return httpserver.WriteJSON(c, http.StatusOK, nil)
	}
	after, given := c.GetQuery("after")
	if !given {
		return a.legacyPoll(c)
	}
	q, err := a.query(c)
	if err != nil {
		return err
	}
	most, err := httpserver.QueryInt(c, "maxBytes", 0, 1, math.MaxInt64)
	if err != nil {
		return err
	}
	// The answer's cursor has the epoch in which the poll began. If the epoch changes meanwhile, the next poll is told.
	at, err := a.place(c, "after", after)
	if err != nil {
		return err
	}
	answer, epoch := gateway.Answer{Reset: true}, at.epoch
	if at.known {
		q.After = at.position
		var later bool
		if answer, later, err = a.await(c, q, waiting{epoch: epoch, maxBytes: most}); later || err != nil {
			return err
		}
	}
	if answer.Reset {
		if epoch, err = a.Gateway.Epochs().Current(c.Request.Context()); err != nil {
			return err
		}
	}
	fit(&answer, most)
	release, err := a.Unread.reserve(c, answer)
	if err != nil {
		return err
	}
	defer release()
	// A client that has gone polls again from the same cursor: there is nothing to undo.
	spans := a.delivering(answer, tracing.Sampled(c.Request.Context()))
	spans.end(write(c, frame(answer, epoch), answer.Close))
	return nil
}

// waiting is what the answer to a waiting poll needs.
type waiting struct {
	// epoch is the log's epoch when the poll began.
	epoch string
	// maxBytes is the most that the client takes at once; 0 for any.
	maxBytes int64
	// session is nil for a client that keeps its own cursor.
	session *session
}

// await polls. If later is set, c must not be used any more: the poll waits elsewhere or its client has gone.
func (a *API) await(c *gin.Context, q gateway.Query, w waiting) (answer gateway.Answer, later bool, err error) {
	if err := a.Unread.expect(c, w.maxBytes); err != nil {
		return answer, false, err
	}
	ctx := c.Request.Context()
	answer, parked, err := a.Gateway.Start(ctx, q)
	if parked == nil {
		return answer, false, err
	}
	answer, over, err := a.waitUnparked(ctx, parked)
	if !over {
		if a.parkPoll(c, parked, w) {
			return gateway.Answer{}, true, nil
		}
		answer, err = parked.Wait(ctx)
	}
	if errors.Is(err, context.Canceled) {
		c.Status(httpserver.StatusClientGone)
		return gateway.Answer{}, true, nil
	}
	return answer, false, err
}

// waitUnparked makes a poll that may be taken over wait here for ParkAfter first, and reports whether it is over.
func (a *API) waitUnparked(ctx context.Context, p *gateway.Parked) (answer gateway.Answer, over bool, err error) {
	if a.Lot == nil {
		return answer, false, nil
	}
	defer a.unparked.Add(-1)
	if a.unparked.Add(1) > a.MaxUnparked {
		return answer, false, nil
	}
	return p.WaitFor(ctx, min(a.ParkAfter, time.Until(p.Until())))
}

// Flush waits until the answers that need only their client are written, or begun.
func (a *API) Flush() { a.workers.settle() }

// Stop waits for the work under way. Stop the Gateway and the Lot first.
func (a *API) Stop() { a.workers.wait() }

// query reads limit and wait.
func (a *API) query(c *gin.Context) (gateway.Query, error) {
	limit, err := httpserver.QueryInt(c, "limit", defaultLimit, 1, api.MaxPollLimit)
	if err != nil {
		return gateway.Query{}, err
	}
	wait, err := httpserver.QueryInt(c, "wait", -1, 0, api.MaxPollWaitSeconds)
	if err != nil {
		return gateway.Query{}, err
	}
	q := a.defaultQuery(c)
	q.Limit = int(limit)
	if wait >= 0 {
		q.Wait = untilExpiry(time.Duration(wait)*time.Second, q.Caller.ExpiresAt)
	}
	return q, nil
}

func (a *API) defaultQuery(c *gin.Context) gateway.Query {
	q := gateway.Query{Caller: httpserver.Caller(c), Network: httpserver.HolderOf(c).Network, Limit: defaultLimit}
	q.Wait = untilExpiry(a.PollWait, q.Caller.ExpiresAt)
	return q
}

// untilExpiry limits a poll's wait to the life of its token. An expired token is accepted for a little longer, because clocks differ. Its
// polls wait too: else the client would poll in a tight loop.
func untilExpiry(wait time.Duration, expires time.Time) time.Duration {
	left := time.Until(expires)
	if left <= 0 {
		left = time.Until(token.Identity{ExpiresAt: expires}.AcceptedUntil())
	}
	return max(0, min(wait, left))
}

// write sends a JSON body, and reports whether the connection has taken all of it, as far as that can be known.
func write(c *gin.Context, body []byte, closeAfter bool) error {
	if err := c.Request.Context().Err(); err != nil {
		return err // the client has gone, but the kernel would still take the answer
	}
	h := c.Writer.Header()
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	if closeAfter {
		h.Set("Connection", "close")
	}
	if err := httpserver.WriteJSON(c, http.StatusOK, body); err != nil {
		return err
	}
	return flush(c.Writer)
}

// flush flushes the inner writer: gin's own Flush drops errors.
func flush(w http.ResponseWriter) error { return http.NewResponseController(inner(w)).Flush() }

// inner returns the server's own writer. gin's drops errors of a flush, and allows no hijack once the answer has begun.
func inner(w http.ResponseWriter) http.ResponseWriter {
	if outer, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
		return inner(outer.Unwrap())
	}
	return w
}
