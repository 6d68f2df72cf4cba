package redishints

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type listenerMetrics struct {
	listening prometheus.Gauge
	received  *prometheus.CounterVec
}

func newListenerMetrics(reg prometheus.Registerer) listenerMetrics {
	f := promauto.With(reg)
	m := listenerMetrics{
		listening: f.NewGauge(prometheus.GaugeOpts{
			Name: "sealpost_hints_listening", Help: "1 while this node hears the hints that other nodes send over Redis, else 0.",
		}),
		received: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_hints_received_total", Help: "Hints received over Redis, by whom they are about (users, everybody).",
		}, []string{"about"}),
	}
	// Create all series now, so that the first count shows as an increase.
	for _, about := range []string{"users", "everybody"} {
		m.received.WithLabelValues(about)
	}
	return m
}
