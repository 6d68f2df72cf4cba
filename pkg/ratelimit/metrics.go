package ratelimit

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Metrics of the limiters of a process.
type Metrics struct{ decisions *prometheus.CounterVec }

// NewMetrics registers the metrics with reg; nil registers them nowhere.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	return &Metrics{decisions: promauto.With(reg).NewCounterVec(prometheus.CounterOpts{
		Name: "sealpost_rate_limit_decisions_total",
		Help: "Requests that a rate limit was asked about, by the limit and what it said: allowed, refused, or unavailable when it could not tell; given_back is an allowed one that was taken back.",
	}, []string{"limit", "decision"})}
}

// Measure counts the decisions of a limiter under name, which must be one of a small set.
func (m *Metrics) Measure(name string, l Limiter) Limiter {
	count := func(decision string) prometheus.Counter { return m.decisions.WithLabelValues(name, decision) }
	// Created now, so that the first refusal shows as an increase.
	return &measured{Limiter: l, allowed: count("allowed"), refused: count("refused"), unavailable: count("unavailable"), givenBack: count("given_back")}
}

type measured struct {
	Limiter
	allowed, refused, unavailable, givenBack prometheus.Counter
}

// Allow implements Limiter.
func (m *measured) Allow(ctx context.Context, key string) (Result, error) {
	return m.counted(m.Limiter.Allow(ctx, key))
}

// AllowN implements Limiter. However many events it is asked about, it is one decision.
func (m *measured) AllowN(ctx context.Context, key string, n int) (Result, error) {
	return m.counted(m.Limiter.AllowN(ctx, key, n))
}

// GiveBack implements Limiter. However many events it is, it is one decision.
func (m *measured) GiveBack(ctx context.Context, key string, n int) error {
	err := m.Limiter.GiveBack(ctx, key, n)
	if err != nil {
		m.unavailable.Inc()
		return err
	}
	m.givenBack.Inc()
	return nil
}

func (m *measured) counted(r Result, err error) (Result, error) {
	switch {
	case err != nil:
		m.unavailable.Inc()
	case r.Allowed:
		m.allowed.Inc()
	default:
		m.refused.Inc()
	}
	return r, err
}
