package httpserver

import (
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
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
	log    *slog.Logger
	// standing are the headers of every answer.
	standing standingHeaders
	// endpoints are those that were asked for. A map is not changed, but replaced, under mu.
	endpoints atomic.Pointer[map[endpointKey]*endpoint]
	mu        sync.Mutex
	// date is the last text of a Date header, and the second that it is for.
	date atomic.Pointer[date]
}

type date struct {
	second int64
	text   string
}

func newMetrics(reg prometheus.Registerer, log *slog.Logger) *httpMetrics {
	f := promauto.With(reg)
	m := &httpMetrics{
		start: time.Now(),
		log:   log, standing: newStanding(),
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
	m.endpoints.Store(&map[endpointKey]*endpoint{})
	return m
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

// endpoint is what all requests with one route and method have in common. There is one of each.
type endpoint struct {
	metrics *httpMetrics
	endpointKey
	duration prometheus.Observer
	// counts are the counters of the statuses that were answered.
	counts [statuses]atomic.Pointer[prometheus.Counter]
}

type endpointKey struct{ route, method string }

// firstStatus and statuses are those of HTTP.
const firstStatus, statuses = 100, 500

// endpoint finds that of a request. There are as many as there are routes and methods, and those who match none.
func (m *httpMetrics) endpoint(c *gin.Context) *endpoint {
	key := endpointKey{c.FullPath(), methodLabel(c.Request.Method)}
	if key.route == "" {
		key.route = "unmatched"
	}
	if e, ok := (*m.endpoints.Load())[key]; ok {
		return e
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := (*m.endpoints.Load())[key]
	if !ok {
		e = &endpoint{metrics: m, endpointKey: key, duration: m.duration.WithLabelValues(key.route)}
		all := maps.Clone(*m.endpoints.Load())
		all[key] = e
		m.endpoints.Store(&all)
	}
	return e
}

// count is the counter of a status.
func (e *endpoint) count(status int) prometheus.Counter {
	at := status - firstStatus
	if at >= 0 && at < statuses {
		if known := e.counts[at].Load(); known != nil {
			return *known
		}
	}
	counter := e.metrics.requests.WithLabelValues(e.route, e.method, strconv.Itoa(status))
	if at >= 0 && at < statuses {
		e.counts[at].Store(&counter)
	}
	return counter
}

// now is the time as the Date header tells it (RFC 9110, section 5.6.7).
func (m *httpMetrics) now() string {
	now := time.Now()
	if d := m.date.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &date{now.Unix(), now.UTC().Format(http.TimeFormat)}
	m.date.Store(d)
	return d.text
}
