package directory

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics of a Service.
type Metrics struct{ rotations *prometheus.CounterVec }

// NewMetrics registers the metrics with reg; nil registers them nowhere.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{rotations: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "sealpost_keys_rotations_total",
		Help: "Keys that users submitted, by whether they rotated the key, it was unchanged, or the password was missing or wrong.",
	}, []string{"outcome"})}
	// Create the series at the start, so that the first event is seen as an increase, and a missing service as missing.
	for _, outcome := range []string{"rotated", "unchanged", "refused"} {
		m.rotations.WithLabelValues(outcome)
	}
	return m
}

func (m *Metrics) rotated(outcome string) { m.rotations.WithLabelValues(outcome).Inc() }
