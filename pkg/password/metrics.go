package password

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	waiting    prometheus.Gauge
	wait, hash prometheus.Histogram
	turnedAway *prometheus.CounterVec
}

// newMetrics registers the metrics with reg; nil registers them nowhere.
func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{
		waiting: f.NewGauge(prometheus.GaugeOpts{
			Name: "sealpost_auth_password_queue_length",
			Help: "Requests that wait for their password to be hashed.",
		}),
		wait: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "sealpost_auth_password_queue_wait_seconds",
			Help:    "Time that a request waited before its password was hashed.",
			Buckets: []float64{.001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
		}),
		hash: f.NewHistogram(prometheus.HistogramOpts{
			Name:    "sealpost_auth_password_hash_seconds",
			Help:    "Time that hashing a password took, without the wait.",
			Buckets: []float64{.01, .025, .05, .1, .2, .4, .8, 1.6, 3.2, 6.4},
		}),
		turnedAway: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_auth_password_queue_refused_total",
			Help: "Requests that left the queue without a hash, by why: at_capacity, or canceled by the client.",
		}, []string{"reason"}),
	}
	// Create the series at the start, so that the first refusal is seen as an increase.
	for _, reason := range []string{"at_capacity", "canceled"} {
		m.turnedAway.WithLabelValues(reason)
	}
	return m
}

func (m *metrics) refused(err error) {
	reason := "canceled"
	if errors.Is(err, ErrAtCapacity) {
		reason = "at_capacity"
	}
	m.turnedAway.WithLabelValues(reason).Inc()
}
