package httpserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/metrics"
)

const requestIDHeader = "X-Request-Id"

// acceptable reports whether an id is one that we take over from a client. Anything else could forge log lines, or be used
// to fill them.
func acceptable(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

func logger(c *gin.Context) *slog.Logger {
	if e := exchangeIn(c.Request.Context()); e != nil && e.metrics != nil {
		return e.metrics.log
	}
	return slog.New(slog.DiscardHandler)
}

// begin makes the exchange of a request, under its id.
func (m *httpMetrics) begin(c *gin.Context) {
	id := c.GetHeader(requestIDHeader)
	if !acceptable(id) {
		var b [12]byte
		_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
		id = hex.EncodeToString(b[:])
	}
	c.Writer.Header()[requestIDHeader] = []string{id}
	c.Request = c.Request.WithContext(&exchange{Context: c.Request.Context(), id: id, metrics: m, began: time.Now()})
}

// securityHeaders: the answers are data for programs; nothing in them may be rendered, framed, sniffed or stored. Their values
// are shared by all answers: whoever wants another one sets it, and must not change what it finds.
func securityHeaders(headers http.Header) gin.HandlerFunc {
	return func(c *gin.Context) { maps.Copy(c.Writer.Header(), headers) }
}

func standing() http.Header {
	return http.Header{
		"X-Content-Type-Options":       {"nosniff"},
		"X-Frame-Options":              {"DENY"},
		"Referrer-Policy":              {"no-referrer"},
		"Content-Security-Policy":      {"default-src 'none'; frame-ancestors 'none'"},
		"Strict-Transport-Security":    {"max-age=31536000"},
		"Cross-Origin-Resource-Policy": {"cross-origin"},
		"Cache-Control":                {"no-store"},
	}
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

func (m *httpMetrics) observe(c *gin.Context) {
	e := exchangeOf(c)
	defer func() { // also for a handler that cuts its answer off, by a panic
		if e.detached {
			return
		}
		m.endpoint(c).answered(c.Request.Context(), e.began, cmp.Or(e.aborted, c.Writer.Status()), c.Writer.Size())
	}()
	c.Next()
}

// answered counts and logs a request.
func (e *endpoint) answered(ctx context.Context, began time.Time, status, size int) {
	elapsed := time.Since(began)
	e.count(status).Inc()
	metrics.Observe(e.duration, elapsed.Seconds(), trace.SpanContextFromContext(ctx))
	if e.metrics.log.Enabled(ctx, slog.LevelDebug) {
		e.metrics.log.LogAttrs(ctx, slog.LevelDebug, "request",
			slog.String("method", e.method), slog.String("route", e.route), slog.Int("status", status),
			slog.Duration("elapsed", elapsed), slog.Int("bytes", size))
	}
}

// methodLabel keeps the label bounded: a method is whatever text a stranger sends.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete, http.MethodPatch:
		return method
	}
	return "other"
}
