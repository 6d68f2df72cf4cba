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
	// failures logs what went wrong for requests.
	failures *failureLog
	// standing are the headers that every answer has.
	standing standingHeaders
	// endpoints are those requested so far. The map is never changed, but replaced, under mu.
	endpoints atomic.Pointer[map[endpointKey]*endpoint]
	mu        sync.Mutex
	// date is the last text of a Date header, and its second.
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
		log:   log, failures: newFailureLog(log), standing: newStanding(),
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

// expect creates the series of all routes before the first request, so that the first failure is seen as an increase.
func (m *httpMetrics) expect(routes gin.RoutesInfo) {
	for _, r := range routes {
		for _, status := range []int{http.StatusInternalServerError, http.StatusServiceUnavailable} {
			m.requests.WithLabelValues(r.Path, r.Method, strconv.Itoa(status))
		}
		m.duration.WithLabelValues(r.Path)
	}
}

// endpoint is what all requests with one route and method share.
type endpoint struct {
	metrics *httpMetrics
	endpointKey
	duration prometheus.Observer
	// counts are the counters by status.
	counts [statuses]atomic.Pointer[prometheus.Counter]
}

type endpointKey struct{ route, method string }

// firstStatus and statuses are the range of HTTP statuses.
const firstStatus, statuses = 100, 500

// endpoint finds the endpoint of a request. There is one for each route and method, and one for each method without a route.
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

// count returns the counter of a status.
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

// now is the current time in the format of the Date header (RFC 9110, section 5.6.7).
func (m *httpMetrics) now() string {
	now := time.Now()
	if d := m.date.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &date{now.Unix(), now.UTC().Format(http.TimeFormat)}
	m.date.Store(d)
	return d.text
}
