package otlp

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// metrics are registered with tracing off as well, at 0.
type metrics struct {
	exported, failed, dropped prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	spans := promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "sealpost_tracing_spans_total",
		Help: "Sampled spans, by what became of them: exported, failed (the collector did not take them), dropped (too many were waiting).",
	}, []string{"result"})
	return &metrics{
		exported: spans.WithLabelValues("exported"), failed: spans.WithLabelValues("failed"), dropped: spans.WithLabelValues("dropped"),
	}
}
