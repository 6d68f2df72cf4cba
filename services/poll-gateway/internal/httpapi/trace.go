package httpapi

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/tracing"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// deliveries are the spans of the delivery of messages to a client: each is the last span in the trace of its send.
type deliveries []trace.Span

// delivering begins the spans of an answer. poll is the poll's own span, or nil. Most answers have none.
func (a *API) delivering(answer gateway.Answer, poll *trace.SpanContext) deliveries {
	if a.Tracer == nil {
		return nil
	}
	var d deliveries
	for _, o := range answer.Objects {
		if o.Trace == nil {
			continue
		}
		options := []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer)}
		if poll != nil {
			options = append(options, trace.WithLinks(trace.Link{SpanContext: *poll}))
		}
		_, span := a.Tracer.Start(trace.ContextWithRemoteSpanContext(context.Background(), *o.Trace), "deliver", options...)
		d = append(d, span)
	}
	return d
}

// end ends the spans, after the answer was written or failed.
func (d deliveries) end(err error) {
	for _, span := range d {
		tracing.End(span, err)
	}
}
