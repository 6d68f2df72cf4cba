package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/metrics"
)

// Metrics of a Gateway.
type Metrics struct {
	openPolls   prometheus.Gauge
	capacity    prometheus.Gauge
	warmUsers   prometheus.Gauge
	answers     *prometheus.CounterVec
	completions *prometheus.CounterVec
	latency     prometheus.Histogram
	recovered   prometheus.Counter
	gaps        prometheus.Counter
	malformed   prometheus.Counter
	staleReads  prometheus.Counter
	refused     *prometheus.CounterVec
}

// delivered measures the delivery latency of a message since its acceptance. sampled is the trace, or nil.
func (m *Metrics) delivered(accepted time.Time, sampled *trace.SpanContext) {
	var sc trace.SpanContext
	if sampled != nil {
		sc = *sampled
	}
	metrics.Observe(m.latency, max(0, time.Since(accepted).Seconds()), sc)
}

// NewMetrics registers the gateway's metrics with reg; nil registers them nowhere.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	m := &Metrics{
		openPolls: f.NewGauge(prometheus.GaugeOpts{
			Name: "sealpost_gateway_open_polls", Help: "Polls and streams that are open on this node.",
		}),
		capacity: f.NewGauge(prometheus.GaugeOpts{
			Name: "sealpost_gateway_capacity_polls", Help: "Polls and streams that may be open on this node.",
		}),
		warmUsers: f.NewGauge(prometheus.GaugeOpts{
			Name: "sealpost_gateway_warm_users", Help: "Users whose events this node is subscribed to.",
		}),
		answers: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_gateway_answers_total", Help: "Polls answered, by type (messages, timeout, reset, revoked).",
		}, []string{"type"}),
		completions: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_gateway_completions_total",
			Help: "Polls answered with messages, by where the messages came from: an event on arrival, the ring of recent events, or the store.",
		}, []string{"source"}),
		latency: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "sealpost_gateway_delivery_latency_seconds",
			Help:    "Time from the server's acceptance of a message to the completion of a waiting poll with it.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}),
		recovered: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_gateway_recovered_events_total", Help: "Messages for waiting polls that no event had told of, found in the store.",
		}),
		gaps: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_gateway_event_gaps_total", Help: "Times that the store was read because an event had waited for its predecessor for too long.",
		}),
		malformed: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_gateway_malformed_events_total", Help: "Payloads from the bus that are no events.",
		}),
		staleReads: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_gateway_stale_reads_total",
			Help: "Reads of the store that ended below a position that the log held: it fails over, or was restored without a new epoch.",
		}),
		refused: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_gateway_refused_polls_total", Help: "Polls refused, by reason (capacity, user_limit, draining).",
		}, []string{"reason"}),
	}
	// Create all series now, so that the first count shows as an increase.
	for v, values := range map[*prometheus.CounterVec][]string{
		m.answers:     {"messages", "timeout", "reset", "revoked"},
		m.completions: {"event", "ring", "store"},
		m.refused:     {"capacity", "user_limit", "draining"},
	} {
		for _, value := range values {
			v.WithLabelValues(value)
		}
	}
	return m
}
