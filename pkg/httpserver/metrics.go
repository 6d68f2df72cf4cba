package httpserver

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"go.opentelemetry.io/otel/trace"
)

type httpMetrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	start    time.Time
	// tracer is nil with tracing off.
	tracer trace.Tracer
	// endpoints are those whose requests have been detached, so that each is kept once: by route and method.
	endpoints sync.Map
}

func newMetrics(reg prometheus.Registerer) *httpMetrics {
	f := promauto.With(reg)
	return &httpMetrics{
		start: time.Now(),
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "sealpost_http_requests_total",
			Help: "Requests answered, by route pattern, method and status.",
		}, []string{"route", "method", "status"}),
		duration: f.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sealpost_http_request_duration_seconds",
			Help:    "Time from a request's headers to the end of its answer, by route pattern. Polls include their wait.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"route"}),
	}
}

// expect makes the series of routes there before they are asked for, so that the first failure is seen as an increase.
func (m *httpMetrics) expect(routes gin.RoutesInfo) {
	for _, r := range routes {
		for _, status := range []int{http.StatusInternalServerError, http.StatusServiceUnavailable} {
			m.requests.WithLabelValues(r.Path, r.Method, strconv.Itoa(status))
		}
		m.duration.WithLabelValues(r.Path)
	}
}
