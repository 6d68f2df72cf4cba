package httpserver

import (
	"net/http"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/logging"
	"github.com/sealpost/sealpost/pkg/tracing"
)

// tracer makes a span of each request.
type tracer struct {
	trace.Tracer
	// trusting: a client's trace is continued.
	trusting bool
}

// span must run before all handlers that belong to the request's trace. It leaves the context of an unsampled request unchanged.
func (t *tracer) span(c *gin.Context) {
	route, method := c.FullPath(), methodLabel(c.Request.Method)
	if route == "/api/health" {
		return
	}
	name := method
	if route != "" {
		name += " " + route
	}
	ctx := c.Request.Context()
	options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", method), attribute.String("http.route", route),
		attribute.String("sealpost.request_id", logging.RequestID(ctx)))}
	if remote, ok := tracing.Remote(ctx, c.GetHeader(tracing.Header)); ok {
		if t.trusting {
			ctx = remote
		} else {
			options = append(options, trace.WithLinks(trace.LinkFromContext(remote)))
		}
	}
	ctx, span := t.Start(ctx, name, options...)
	defer span.End()
	if !span.IsRecording() {
		return
	}
	c.Request = c.Request.WithContext(ctx)
	c.Next()
	if exchangeOf(c).detached {
		span.AddEvent("parked") // see Detached.Done
		return
	}
	setStatus(span, c.Writer.Status())
}

func setStatus(span trace.Span, status int) {
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
	}
}
