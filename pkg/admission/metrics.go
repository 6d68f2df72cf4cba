package admission

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics of the bounds of a process.
type Metrics struct {
	reg                prometheus.Registerer
	refused, displaced *prometheus.CounterVec
}

// NewMetrics registers the metrics with reg; nil registers them nowhere.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	f := promauto.With(reg)
	return &Metrics{
		reg: reg,
		refused: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_admission_refused_total", Help: "Requests for which a full bound had no room, by the bound.",
		}, []string{"bound"}),
		displaced: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_admission_displaced_total",
			Help: "Requests of those who held most of a full bound, or were slowest, ended to make room for others, by the bound.",
		}, []string{"bound"}),
	}
}

type counters struct{ refused, displaced prometheus.Counter }

// Pool makes a Pool that is measured under a name, which must be one of a small set.
func (m *Metrics) Pool(name string, cfg Config) *Pool {
	if m == nil {
		m = NewMetrics(nil)
	}
	// Created now, so that the first refusal shows as an increase.
	p := newPool(cfg, counters{m.refused.WithLabelValues(name), m.displaced.WithLabelValues(name)})
	promauto.With(m.reg).NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sealpost_admission_used_ratio", Help: "How much of a bound is taken, from 0 to 1, by the bound.",
		ConstLabels: prometheus.Labels{"bound": name},
	}, func() float64 { return float64(p.Held()) / float64(p.cfg.Size) })
	return p
}
