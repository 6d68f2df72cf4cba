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

// acceptable reports whether a client's request id may be used. Other ids could forge or flood log lines.
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

// begin makes the exchange of a request, and sets its id.
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

// securityHeaders: answers are data for programs; nothing in them may be rendered, framed, sniffed or stored. All answers share the
// header values: a handler that needs another value must set it, and not modify the shared one.
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

// writeTimeout bounds how long a client may take to read an ordinary answer. Polls and streams set another deadline when they
// write.
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
	defer func() { // also if a handler cuts its answer off, by a panic
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

// methodLabel bounds the label's values: a client can send any text as method.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodPost, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete, http.MethodPatch:
		return method
	}
	return "other"
}
