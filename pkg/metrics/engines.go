package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sealpost/sealpost/pkg/tracing"
)

// Engines measures a process's operations on its engines.
type Engines struct {
	duration *prometheus.HistogramVec
	errors   *prometheus.CounterVec
}

// NewEngines registers the metrics with reg; nil registers them nowhere.
func NewEngines(reg prometheus.Registerer) *Engines {
	f := promauto.With(reg)
	labels := []string{"engine", "operation"}
	return &Engines{
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sealpost_engine_operation_duration_seconds",
			Help:    "Time that an engine (mongodb, redis, nats, pebble) took for an operation, as this process saw it.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, labels),
		errors: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_engine_operation_errors_total",
			Help: "Operations that an engine failed or did not answer in time.",
		}, labels),
	}
}

// Observe counts one operation, and adds a span to the trace of ctx. The operation is one of a small set of names: the command,
// without its arguments.
func (e *Engines) Observe(ctx context.Context, engine, operation string, took time.Duration, failed bool) {
	tracing.Operation(ctx, engine, operation, took, failed)
	e.duration.WithLabelValues(engine, operation).Observe(took.Seconds())
	failures := e.errors.WithLabelValues(engine, operation) // created before the first failure, so that it is seen as an increase
	if failed {
		failures.Inc()
	}
}

// Of is Observe for one engine. It creates the series of the given operations at the start.
func (e *Engines) Of(engine string, operations ...string) func(ctx context.Context, operation string, took time.Duration, failed bool) {
	for _, operation := range operations {
		e.duration.WithLabelValues(engine, operation)
		e.errors.WithLabelValues(engine, operation)
	}
	return func(ctx context.Context, operation string, took time.Duration, failed bool) {
		e.Observe(ctx, engine, operation, took, failed)
	}
}
