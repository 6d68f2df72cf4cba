// Package busmetrics has the metrics that every bus keeps.
package busmetrics

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics of a bus.
type Metrics struct {
	// OK, Disconnected and Failed count the publications, by result.
	OK, Disconnected, Failed prometheus.Counter
	Received                 prometheus.Counter
	// Disruptions are counted by cause.
	Disruptions *prometheus.CounterVec
}

// New registers the metrics with reg; nil registers them nowhere.
func New(reg prometheus.Registerer) Metrics {
	f := promauto.With(reg)
	published := f.NewCounterVec(prometheus.CounterOpts{
		Name: "sealpost_bus_published_total", Help: "Publications handed to the bus: events of one user, or of all readers of messages, by result (ok, disconnected, error).",
	}, []string{"result"})
	m := Metrics{
		// Create all series now, so that the first count shows as an increase.
		OK: published.WithLabelValues("ok"), Disconnected: published.WithLabelValues("disconnected"), Failed: published.WithLabelValues("error"),
		Received: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_bus_received_total", Help: "Events received from the bus: of a publication for the readers of messages, one for each who polls here.",
		}),
		Disruptions: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_bus_disruptions_total", Help: "Times that events may have been lost, by cause (disconnect, reconnect, slow_consumer, silent).",
		}, []string{"cause"}),
	}
	for _, cause := range []string{"disconnect", "reconnect", "slow_consumer", "silent"} {
		m.Disruptions.WithLabelValues(cause)
	}
	return m
}

// Connected registers a gauge of whether the bus is connected. connected may be called at once.
func Connected(reg prometheus.Registerer, connected func() bool) {
	promauto.With(reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sealpost_bus_connected", Help: "1 while this node is connected to the bus, else 0.",
	}, func() float64 {
		if connected() {
			return 1
		}
		return 0
	})
}
