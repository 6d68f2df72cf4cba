package password

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	hash  prometheus.Histogram
	lanes [lanes]laneMetrics
}

type laneMetrics struct {
	waiting              prometheus.Gauge
	wait                 prometheus.Observer
	atCapacity, canceled prometheus.Counter
}

// newMetrics registers the metrics with reg; nil registers them nowhere.
func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	m := &metrics{hash: f.NewHistogram(prometheus.HistogramOpts{
		Name:    "sealpost_auth_password_hash_seconds",
		Help:    "Time that hashing a password took, without the wait.",
		Buckets: []float64{.01, .025, .05, .1, .2, .4, .8, 1.6, 3.2, 6.4},
	})}
	waiting := f.NewGaugeVec(prometheus.GaugeOpts{
		Name: "sealpost_auth_password_queue_length",
		Help: "Requests that wait for their password to be hashed, by lane: known, logins or registrations.",
	}, []string{"lane"})
	wait := f.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "sealpost_auth_password_queue_wait_seconds",
		Help:    "Time that a request waited before its password was hashed, by lane.",
		Buckets: []float64{.001, .01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30},
	}, []string{"lane"})
	refused := f.NewCounterVec(prometheus.CounterOpts{
		Name: "sealpost_auth_password_queue_refused_total",
		Help: "Requests that left the queue without a hash, by lane and why: at_capacity, or canceled by the client.",
	}, []string{"lane", "reason"})
	for l := range Lane(lanes) { // created at the start, so that the first refusal is seen as an increase
		name := l.String()
		m.lanes[l] = laneMetrics{
			waiting: waiting.WithLabelValues(name), wait: wait.WithLabelValues(name),
			atCapacity: refused.WithLabelValues(name, "at_capacity"), canceled: refused.WithLabelValues(name, "canceled"),
		}
	}
	return m
}

func (m laneMetrics) refused(err error) {
	if errors.Is(err, ErrAtCapacity) {
		m.atCapacity.Inc()
		return
	}
	m.canceled.Inc()
}
