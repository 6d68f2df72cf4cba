package parking

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics of a Lot.
type Metrics struct {
	waiting  prometheus.Gauge
	returned prometheus.Counter
	slow     prometheus.Counter
}

// NewMetrics registers a Lot's metrics with reg; nil registers them nowhere.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	return &Metrics{
		waiting: f.NewGauge(prometheus.GaugeOpts{
			Name: "sealpost_parking_connections", Help: "Connections that wait for their answer without a goroutine.",
		}),
		returned: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_parking_returned_total", Help: "Connections that went back to the HTTP server with their client's next request.",
		}),
		slow: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_parking_slow_answers_total", Help: "Answers that their client did not take at once.",
		}),
	}
}
