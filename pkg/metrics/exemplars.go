package metrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// Observe puts a value into a histogram. If the trace that it belongs to is sampled, its id stands there as an example.
func Observe(h prometheus.Observer, value float64, sc trace.SpanContext) {
	if exemplars, ok := h.(prometheus.ExemplarObserver); ok && sc.IsSampled() {
		exemplars.ObserveWithExemplar(value, prometheus.Labels{"trace_id": sc.TraceID().String()})
		return
	}
	h.Observe(value)
}
