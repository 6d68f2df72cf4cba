package e2e

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/logging"
	"github.com/sealpost/sealpost/pkg/logging/logtest"
	"github.com/sealpost/sealpost/pkg/tracing/otlptest"
	"github.com/sealpost/sealpost/services/standalone/app"
)

const patience = 20 * time.Second

// server runs within this process.
type server struct {
	*app.App
	log *logtest.Journal
	// admin calls the admin port.
	admin *client
}

func startHere(t *testing.T, settings ...string) *server {
	t.Helper()
	s := &server{log: &logtest.Journal{}}
	var cfg app.Config
	require.NoError(t, config.Load(&cfg, append([]string{
		"HOST=127.0.0.1", "PORT=0", "ADMIN_ADDRESS=127.0.0.1:0", "DATA_DIR=" + t.TempDir(), "ARGON2_MEMORY=64KiB", "ARGON2_TIME=1",
		"RATE_LIMIT=off", "LOG_LEVEL=debug", "DRAIN_TIME=0s",
	}, settings...)))
	log, err := logging.New(s.log, cfg.LogLevel, "standalone")
	require.NoError(t, err)
	s.App, err = app.New(t.Context(), cfg, log)
	require.NoError(t, err)
	s.admin = newClient(t, s.AdminURL())
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() { require.NoError(t, errors.Join(s.stop(), <-served)) })
	return s
}

// stop ends the server; then all spans have been sent. A second call does nothing.
func (s *server) stop() error { return s.Stop(context.Background()) }

// exchange sends one message to a waiting poll.
func exchange(t *testing.T, s *server) {
	t.Helper()
	alice, bob := newClient(t, s.URL()), newClient(t, s.URL())
	alice.register(t, "alice")
	bob.register(t, "bob")
	polled := make(chan api.PollResponse, 1)
	go func() {
		var answer api.PollResponse
		bob.call(t.Context(), http.MethodGet, "/api/messages/poll?after=0&wait=30", nil, &answer)
		polled <- answer
	}()
	require.Eventually(t, func() bool { return strings.Contains(metricsOf(t, s, ""), "sealpost_parking_connections 1") }, patience, time.Millisecond)
	require.Equal(t, http.StatusCreated, alice.call(t.Context(), http.MethodPost, "/api/messages/send", sendRequest("hello", "bob"), nil))
	require.Equal(t, "messages", (<-polled).Type)
}

func metricsOf(t *testing.T, s *server, accept string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.admin.url+"/metrics", nil)
	require.NoError(t, err)
	req.Header.Set("Accept", accept)
	res, err := s.admin.http.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return string(text)
}

// TestOneTraceHoldsASendAndTheAnsweredPoll: the trace has the send's span, the store's, the publication's and the delivery's, which
// links to the waiting poll.
func TestOneTraceHoldsASendAndTheAnsweredPoll(t *testing.T) {
	collector := otlptest.New(t)
	s := startHere(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL)
	exchange(t, s)
	metrics := metricsOf(t, s, "application/openmetrics-text")
	require.NoError(t, s.stop())

	send := one(t, collector, "POST /api/messages/send")
	require.Equal(t, "SPAN_KIND_SERVER", send.Kind)
	require.Empty(t, send.ParentID)
	for _, name := range []string{"look up", "inbox commit", "publish"} {
		step := one(t, collector, name)
		require.Equal(t, send.TraceID, step.TraceID, name)
		require.Equal(t, send.SpanID, step.ParentID, name)
		require.Equal(t, "STATUS_CODE_UNSET", step.Status, name)
	}
	deliver, poll, wait := one(t, collector, "deliver"), one(t, collector, "GET /api/messages/poll"), one(t, collector, "wait")
	require.Equal(t, send.TraceID, deliver.TraceID)
	require.Equal(t, one(t, collector, "publish").SpanID, deliver.ParentID)
	require.Equal(t, []string{poll.SpanID}, deliver.Links)
	require.NotEqual(t, send.TraceID, poll.TraceID)
	require.Equal(t, poll.SpanID, wait.ParentID)
	require.Greater(t, wait.Nanoseconds, poll.Nanoseconds)

	line := s.log.Lines(`"route":"/api/messages/send"`)
	require.Len(t, line, 1)
	require.Contains(t, line[0], `"trace_id":"`+send.TraceID+`","span_id":"`+send.SpanID+`"`)
	line = s.log.Lines(`"route":"/api/messages/poll"`)
	require.Contains(t, line[0], `"trace_id":"`+poll.TraceID+`"`)
	for _, histogram := range []string{`sealpost_http_request_duration_seconds_bucket{route="/api/messages/send"`, "sealpost_gateway_delivery_latency_seconds_bucket"} {
		require.True(t, exemplar(metrics, histogram, send.TraceID), histogram)
	}
	for _, span := range collector.Spans() {
		for name, value := range span.Attributes {
			require.NotContains(t, value, "alice", "%s of %s", name, span.Name)
			require.NotContains(t, value, "bob", "%s of %s", name, span.Name)
		}
		require.Equal(t, "standalone", span.Resource["service.name"])
	}
}

// one returns the only span with a name in the exchange.
func one(t *testing.T, c *otlptest.Collector, name string) otlptest.Span {
	t.Helper()
	spans := c.Named(name)
	require.Len(t, spans, 1, name)
	return spans[0]
}

// exemplar reports whether a histogram has an exemplar with the trace.
func exemplar(metrics, histogram, trace string) bool {
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, histogram) && strings.Contains(line, `# {trace_id="`+trace+`"}`) {
			return true
		}
	}
	return false
}

func TestWithTracingOffNothingIsSentOrNamed(t *testing.T) {
	collector := otlptest.New(t)
	for _, settings := range [][]string{nil, {"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_SDK_DISABLED=true"}} {
		s := startHere(t, settings...)
		exchange(t, s)
		require.NotContains(t, metricsOf(t, s, "application/openmetrics-text"), "trace_id")
		require.NoError(t, s.stop())
		require.Empty(t, s.log.Lines("trace_id"))
	}
	require.Zero(t, collector.Requests())
}

// TestACollectorThatIsAwayFailsNoRequest.
func TestACollectorThatIsAwayFailsNoRequest(t *testing.T) {
	s := startHere(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_TIMEOUT=100")
	exchange(t, s)
	require.NoError(t, s.stop())
	require.NotEmpty(t, s.log.Lines("traces cannot be sent"))
}
