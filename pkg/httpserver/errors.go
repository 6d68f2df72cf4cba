package httpserver

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/logging"
)

// HandlerFunc answers a request, or returns why it cannot; then nothing has been written.
type HandlerFunc func(c *gin.Context) error

// ErrorRow says how one sentinel error of a domain is answered.
type ErrorRow struct {
	Err    error
	Answer func(err error) *api.Error
}

// ErrorTable is a service's one table from error to answer. The first row that errors.Is matches decides.
type ErrorTable []ErrorRow

// Always makes an Answer that does not depend on the error.
func Always(status int, code api.Code, message string) func(error) *api.Error {
	return func(error) *api.Error { return api.New(status, code, message) }
}

// Away makes the Answer for a dependency that is not available: 503 with a jittered Retry-After.
func Away(what string) func(error) *api.Error {
	return func(error) *api.Error { return api.Unavailable(what, RetryAfter(2*time.Second)) }
}

// RetryAfter spreads retries: it returns whole seconds, as the header tells them, from base to four times base. Clients that
// were refused together come back one after the other, not in the same second.
func RetryAfter(base time.Duration) time.Duration {
	seconds := max(1, int64((base+time.Second-1)/time.Second))
	return time.Duration(seconds+rand.Int64N(3*seconds+1)) * time.Second
}

// Handle makes a gin handler of h that answers the error h returns.
func (t ErrorTable) Handle(h HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := h(c); err != nil {
			t.Write(c, err)
		}
	}
}

// Write answers with err and ends the handler chain. An *api.Error in err's chain is written as it is; otherwise the
// table decides; an error the table does not know is an opaque 500.
func (t ErrorTable) Write(c *gin.Context, err error) {
	writeError(c, t.judge(c, err))
}

// Abort is Write for an answer that is out in part: it must not look like a whole one, so the connection is cut. The log and the
// metrics tell of the error as if it had been answered.
func (t ErrorTable) Abort(c *gin.Context, err error) {
	abort(c, t.judge(c, err).Status)
}

// abort cuts the connection of a request that counts as answered with status.
func abort(c *gin.Context, status int) {
	exchangeOf(c).aborted = status
	panic(http.ErrAbortHandler)
}

// judge finds the answer to err, and logs what is the server's fault.
func (t ErrorTable) judge(c *gin.Context, err error) *api.Error {
	answer := t.find(err)
	if errors.Is(err, context.Canceled) && errors.Is(c.Request.Context().Err(), context.Canceled) {
		// Nobody is there to read the answer, and nothing has failed: it must not count against the service.
		answer = api.New(StatusClientGone, api.CodeUnavailable, "the client has gone")
	}
	logFailure(c.Request.Context(), logger(c), c.FullPath(), answer, err)
	return answer
}

// StatusClientGone is what log lines and metrics say of a request whose client has gone away: nginx's 499. Nobody is told.
const StatusClientGone = 499

func logFailure(ctx context.Context, log *slog.Logger, route string, answer *api.Error, err error) {
	if answer.Status >= http.StatusInternalServerError {
		trace.SpanFromContext(ctx).RecordError(err)
		log.LogAttrs(ctx, slog.LevelWarn, "request failed",
			slog.String("route", route), slog.Int("status", answer.Status), slog.String("error", err.Error()))
	}
}

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
	for name, value := range errorHeaders(e) {
		c.Header(name, value)
	}
	c.Header("Cache-Control", "no-store")
	c.AbortWithStatusJSON(e.Status, e)
}

// errorHeaders are what an error's status asks for.
func errorHeaders(e *api.Error) map[string]string {
	h := make(map[string]string)
	retryAfter := e.RetryAfter
	if retryAfter == 0 && (e.Status == http.StatusServiceUnavailable || e.Status == http.StatusTooManyRequests) {
		retryAfter = RetryAfter(time.Second)
	}
	if retryAfter > 0 {
		seconds := int64((retryAfter + time.Second - 1) / time.Second)
		h["Retry-After"] = strconv.FormatInt(seconds, 10)
	}
	if e.Status == http.StatusUnauthorized {
		h["WWW-Authenticate"] = "Bearer"
	}
	return h
}
