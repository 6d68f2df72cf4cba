package revocation

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	failures prometheus.Counter
	restored prometheus.Counter
}

// newMetrics registers the metrics of m with reg; nil registers them nowhere.
func newMetrics(reg prometheus.Registerer, m *Mirror, maxStaleness time.Duration) *metrics {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sealpost_revocation_staleness_seconds",
		Help: "Time since this node was last certain to know every revocation. Above sealpost_revocation_max_staleness_seconds it refuses all tokens.",
	}, func() float64 { return m.Staleness().Seconds() })
	f.NewGauge(prometheus.GaugeOpts{
		Name: "sealpost_revocation_max_staleness_seconds",
		Help: "REVOCATION_MAX_STALENESS: with older knowledge of revocations this node refuses all tokens.",
	}).Set(maxStaleness.Seconds())
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sealpost_revocation_records",
		Help: "Revocations known to this node that have not expired.",
	}, func() float64 { return float64(m.size()) })
	return &metrics{
		failures: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_revocation_log_failures_total",
			Help: "Times the revocation log was lost and had to be followed anew.",
		}),
		restored: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_revocation_restored_total",
			Help: "Revocations that the log had lost and that this node appended again.",
		}),
	}
}
