// Package tracing adds the server's parts to the OpenTelemetry trace of a request. An unsampled request costs nothing: no span, no
// allocation. Package otlp decides whether anything is sampled, and sends it.
package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Scope is the name, in each span, of the code that makes the spans.
const Scope = "github.com/sealpost/sealpost"

// Header is the name of the W3C Trace Context header (https://www.w3.org/TR/trace-context/), on HTTP and on the bus.
const Header = "traceparent"

// Start begins a span within the one of ctx, if that is recorded; otherwise it returns ctx unchanged, and a span that is not
// recorded. The name is one of a small set. End the span with End.
func Start(ctx context.Context, name string, kind trace.SpanKind) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, trace.SpanFromContext(context.Background())
	}
	return parent.TracerProvider().Tracer(Scope).Start(ctx, name, trace.WithSpanKind(kind))
}

// End ends a span, with err, which may be nil.
func End(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// Operation adds a span for an operation that an engine has just completed, or failed, for the request of ctx.
func Operation(ctx context.Context, engine, operation string, took time.Duration, failed bool) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return
	}
	now := time.Now()
	_, span := parent.TracerProvider().Tracer(Scope).Start(ctx, engine+" "+operation, trace.WithSpanKind(trace.SpanKindClient),
		trace.WithTimestamp(now.Add(-took)), trace.WithAttributes(
			attribute.String("db.system.name", engine), attribute.String("db.operation.name", operation)))
	if failed {
		span.SetStatus(codes.Error, "")
	}
	span.End(trace.WithTimestamp(now))
}

// Sampled returns the context of the span of ctx, or nil if that is not sampled.
func Sampled(ctx context.Context) *trace.SpanContext {
	sc := trace.SpanContextFromContext(ctx)
	if !sc.IsSampled() {
		return nil
	}
	return keep(sc)
}

// keep is separate so that only sampled contexts are allocated.
func keep(sc trace.SpanContext) *trace.SpanContext { return &sc }

// With returns a context in which the span of sc, which is or was recorded in this process, is the current one. Nil
// leaves ctx as it is.
func With(ctx context.Context, sc *trace.SpanContext) context.Context {
	if sc == nil {
		return ctx
	}
	return trace.ContextWithSpanContext(ctx, *sc)
}

// Traceparent returns the header with which another node continues the trace of a span, or "" for nil.
func Traceparent(sc *trace.SpanContext) string {
	if sc == nil {
		return ""
	}
	var h carrier
	propagation.TraceContext{}.Inject(With(context.Background(), sc), &h)
	return h.value
}

// Parse returns the span context of a header made by Traceparent, or nil if the header is not sampled or invalid.
func Parse(header string) *trace.SpanContext {
	if header == "" {
		return nil
	}
	ctx, _ := Remote(context.Background(), header)
	return Sampled(ctx)
}

// Remote returns a context whose current span is the header's, and whether the header is valid. It ignores the header's vendor
// part, tracestate: nothing here reads it, and strangers write it.
func Remote(ctx context.Context, header string) (context.Context, bool) {
	if header == "" {
		return ctx, false
	}
	remote := propagation.TraceContext{}.Extract(ctx, &carrier{header})
	return remote, trace.SpanContextFromContext(remote).IsRemote()
}

// carrier holds the one header.
type carrier struct{ value string }

// Get implements propagation.TextMapCarrier.
func (c *carrier) Get(key string) string {
	if key == Header {
		return c.value
	}
	return ""
}

// Set implements propagation.TextMapCarrier.
func (c *carrier) Set(key, value string) {
	if key == Header {
		c.value = value
	}
}

// Keys implements propagation.TextMapCarrier.
func (c *carrier) Keys() []string { return []string{Header} }
