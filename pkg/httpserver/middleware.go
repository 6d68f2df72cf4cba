package httpserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/logging"
	"github.com/sealpost/sealpost/pkg/metrics"
)

const requestIDHeader = "X-Request-Id"

// requestIDPattern is what we take over from a client. Anything else could forge log lines, or be used to fill them.
var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

const loggerKey = "sealpost.logger"

func withLogger(log *slog.Logger) gin.HandlerFunc {
	return func(c *gin.Context) { c.Set(loggerKey, log) }
}

func logger(c *gin.Context) *slog.Logger {
	if l, ok := c.Get(loggerKey); ok {
		return l.(*slog.Logger)
	}
	return slog.New(slog.DiscardHandler)
}

func requestID(c *gin.Context) {
	id := c.GetHeader(requestIDHeader)
	if !requestIDPattern.MatchString(id) {
		var b [12]byte
		_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
		id = hex.EncodeToString(b[:])
	}
	c.Header(requestIDHeader, id)
	c.Request = c.Request.WithContext(logging.WithRequestID(c.Request.Context(), id))
}

// securityHeaders: the answers are data for programs; nothing in them may be rendered, framed, sniffed or stored.
func securityHeaders(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Strict-Transport-Security", "max-age=31536000")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Cache-Control", "no-store")
}

// writeTimeout bounds how long a client may take to read an ordinary answer. Polls and streams set their own
// deadline when they write.
const writeTimeout = 90 * time.Second

func boundWrite(c *gin.Context) {
	_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(writeTimeout))
}

func recoverPanic(c *gin.Context) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if err, ok := r.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(r)
		}
		logger(c).ErrorContext(c.Request.Context(), "panic in a handler",
			"route", c.FullPath(), "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
		if c.Writer.Written() {
			abort(c, http.StatusInternalServerError)
		}
		writeError(c, api.New(http.StatusInternalServerError, api.CodeInternal, "something went wrong on the server"))
	}()
	c.Next()
}

const observationKey = "sealpost.observation"

// observation is a request in the eyes of the metrics and the log.
type observation struct {
	metrics *httpMetrics
	began   time.Time
	// detached: the answer comes after the handler has returned.
	detached bool
	// aborted is the status that would have been told of an answer that was cut off; 0 for others.
	aborted int
}

func (m *httpMetrics) observe(c *gin.Context) {
	o := &observation{metrics: m, began: time.Now()}
	c.Set(observationKey, o)
	defer func() { // also for a handler that cuts its answer off, by a panic
		if o.detached {
			return
		}
		e := m.endpoint(c)
		e.answered(c.Request.Context(), o.began, cmp.Or(o.aborted, c.Writer.Status()), c.Writer.Size())
	}()
	c.Next()
}

// endpoint is what all requests with one route and method have in common.
type endpoint struct {
	metrics       *httpMetrics
	log           *slog.Logger
	route, method string
}

func (m *httpMetrics) endpoint(c *gin.Context) endpoint {
	route := c.FullPath()
	if route == "" {
		route = "unmatched"
	}
	return endpoint{m, logger(c), route, methodLabel(c.Request.Method)}
}

// answered counts and logs a request.
func (e *endpoint) answered(ctx context.Context, began time.Time, status, size int) {
	elapsed := time.Since(began)
	e.metrics.requests.WithLabelValues(e.route, e.method, strconv.Itoa(status)).Inc()
	metrics.Observe(e.metrics.duration.WithLabelValues(e.route), elapsed.Seconds(), trace.SpanContextFromContext(ctx))
	e.log.LogAttrs(ctx, slog.LevelDebug, "request",
		slog.String("method", e.method), slog.String("route", e.route), slog.Int("status", status),
		slog.Duration("elapsed", elapsed), slog.Int("bytes", size))
}

// methodLabel keeps the label bounded: a method is whatever text a stranger sends.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete, http.MethodPatch:
		return method
	}
	return "other"
}
