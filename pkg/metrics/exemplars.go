package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// Observe adds a value to a histogram. If its trace is sampled, the trace id becomes an exemplar.
func Observe(h prometheus.Observer, value float64, sc trace.SpanContext) {
	if exemplars, ok := h.(prometheus.ExemplarObserver); ok && sc.IsSampled() {
		exemplars.ObserveWithExemplar(value, prometheus.Labels{"trace_id": sc.TraceID().String()})
		return
	}
	h.Observe(value)
}
