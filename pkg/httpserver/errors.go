package httpserver

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/logging"
)

// HandlerFunc answers a request, or returns an error; then it has written nothing.
type HandlerFunc func(c *gin.Context) error

// ErrorRow says how to answer one sentinel error of a domain.
type ErrorRow struct {
	Err    error
	Answer func(err error) *api.Error
}

// ErrorTable is a service's one table from errors to answers. The first row that errors.Is matches applies.
type ErrorTable []ErrorRow

// Always returns an Answer that does not depend on the error.
func Always(status int, code api.Code, message string) func(error) *api.Error {
	return func(error) *api.Error { return api.New(status, code, message) }
}

// UnavailableAnswer returns the Answer for an unavailable dependency: 503 with a jittered Retry-After.
func UnavailableAnswer(what string) func(error) *api.Error {
	return func(error) *api.Error { return api.Unavailable(what, RetryAfter(2*time.Second)) }
}

// RetryAfter spreads retries: it returns whole seconds, the unit of the header, from base to four times base. Clients that were
// refused together do not come back in the same second.
func RetryAfter(base time.Duration) time.Duration {
	seconds := max(1, int64((base+time.Second-1)/time.Second))
	return time.Duration(seconds+rand.Int64N(3*seconds+1)) * time.Second
}

// Handle makes a gin handler that answers the error that h returns.
func (t ErrorTable) Handle(h HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := h(c); err != nil {
			t.Write(c, err)
		}
	}
}

// Write answers with err and ends the handler chain. An *api.Error in err's chain is written as it is; otherwise the table applies;
// an error that is not in the table is an opaque 500.
func (t ErrorTable) Write(c *gin.Context, err error) {
	writeError(c, t.judge(c, err))
}

// Abort is Write for an answer that is partly written: it cuts the connection, so that the answer does not look complete. The log
// and the metrics report the error as if it had been answered.
func (t ErrorTable) Abort(c *gin.Context, err error) {
	abort(c, t.judge(c, err).Status)
}

// abort cuts the connection of a request that is counted with status.
func abort(c *gin.Context, status int) {
	exchangeOf(c).aborted = status
	panic(http.ErrAbortHandler)
}

// judge finds the answer to err, and logs faults of the server.
func (t ErrorTable) judge(c *gin.Context, err error) *api.Error {
	answer := t.find(err)
	if errors.Is(err, context.Canceled) && errors.Is(c.Request.Context().Err(), context.Canceled) {
		// Nobody reads the answer, and nothing failed: it must not count against the service.
		answer = api.New(StatusClientGone, api.CodeUnavailable, "the client has gone")
	}
	if e := exchangeIn(c.Request.Context()); e != nil && e.metrics != nil {
		e.metrics.failures.add(c.Request.Context(), c.FullPath(), answer, err)
	}
	return answer
}

// StatusClientGone is the status in logs and metrics of a request whose client has gone: nginx's 499. It is never sent.
const StatusClientGone = 499

func (t ErrorTable) find(err error) *api.Error {
	var ready *api.Error
	if errors.As(err, &ready) {
		copied := *ready
		return &copied
	}
	for _, row := range t {
		if errors.Is(err, row.Err) {
			return row.Answer(err)
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return api.Unavailable("the server", RetryAfter(2*time.Second))
	}
	return api.New(http.StatusInternalServerError, api.CodeInternal, "something went wrong on the server")
}

func writeError(c *gin.Context, e *api.Error) {
	e.RequestID = logging.RequestID(c.Request.Context())
	headers := errorHeaders(e)
	for i := 0; i < len(headers); i += 2 {
		c.Header(headers[i], headers[i+1])
	}
	c.Header("Cache-Control", "no-store")
	if x := exchangeIn(c.Request.Context()); x != nil && x.eventSource && passes(e) {
		writeReconnect(c, e)
		return
	}
	c.AbortWithStatusJSON(e.Status, e)
}

// errorHeaders are the names and values of the headers that an error requires.
func errorHeaders(e *api.Error) (h []string) {
	retryAfter := e.RetryAfter
	if retryAfter == 0 && (e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests) {
		retryAfter = RetryAfter(time.Second)
	}
	if retryAfter > 0 {
		seconds := int64((retryAfter + time.Second - 1) / time.Second)
		h = append(h, "Retry-After", strconv.FormatInt(seconds, 10))
	}
	if e.Status == http.StatusUnauthorized {
		h = append(h, "WWW-Authenticate", "Bearer")
	}
	return h
}
