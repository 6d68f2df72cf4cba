package pebble

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// registerMetrics registers the store's metrics with reg; nil registers them nowhere. Operations are reported to Options.Observe.
func (s *Store) registerMetrics(reg prometheus.Registerer) {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sealpost_store_disk_free_bytes",
		Help: "Free space on the disk of the store, as last checked; NaN if the file system does not report it.",
	}, func() float64 {
		if free := s.free.Load(); free != unknownFree {
			return float64(free)
		}
		return math.NaN()
	})
	f.NewGauge(prometheus.GaugeOpts{
		Name: "sealpost_store_disk_min_free_bytes",
		Help: "Free space below which the store refuses writes.",
	}).Set(float64(s.minFree))
}
