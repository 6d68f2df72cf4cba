package httpserver_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/logging"
	"github.com/sealpost/sealpost/pkg/metrics"
	"github.com/sealpost/sealpost/pkg/tracing"
)

const (
	strangersTrace  = "0af7651916cd43dd8448eb211c80319c"
	strangersSpan   = "b7ad6b7169203331"
	strangersHeader = "00-" + strangersTrace + "-" + strangersSpan + "-01"
)

// traced is a server that records its spans. It is called without a connection.
type traced struct {
	t      *testing.T
	server *httpserver.Server
	spans  *tracetest.InMemoryExporter
	logs   bytes.Buffer
}

func newTraced(t *testing.T, cfg httpserver.Config, sampler sdk.Sampler, handler httpserver.HandlerFunc) *traced {
	t.Helper()
	r := &traced{t: t, spans: tracetest.NewInMemoryExporter()}
	log, err := logging.New(&r.logs, "debug", "test")
	require.NoError(t, err)
	cfg.AdminAddress = "127.0.0.1:0"
	options := httpserver.Options{Address: "127.0.0.1:0", Log: log, Registry: metrics.NewRegistry()}
	if sampler != nil {
		options.Tracer = sdk.NewTracerProvider(sdk.WithSyncer(r.spans), sdk.WithSampler(sampler)).Tracer(tracing.Scope)
	}
	r.server, err = httpserver.New(t.Context(), cfg, options)
	require.NoError(t, err)
	r.server.Routes().GET("/things/:name", httpserver.ErrorTable{}.Handle(handler))
	t.Cleanup(func() { require.NoError(t, r.server.Shutdown(t.Context())) })
	return r
}

// get requests a path, with a client's trace header.
func (r *traced) get(path, header string) tracetest.SpanStubs {
	r.spans.Reset()
	req := httptest.NewRequest(http.MethodGet, path, nil)
	if header != "" {
		req.Header.Set("traceparent", header)
	}
	req.Header.Set("Authorization", "Bearer hunter2")
	r.server.Handler().ServeHTTP(httptest.NewRecorder(), req)
	return r.spans.GetSpans()
}

func fine(c *gin.Context) error { c.Status(http.StatusNoContent); return nil }

func TestARequestIsASpanNamedForItsRoute(t *testing.T) {
	r := newTraced(t, httpserver.Config{}, sdk.AlwaysSample(), fine)
	spans := r.get("/things/alice?token=hunter2", "")
	require.Len(t, spans, 1)
	require.Equal(t, "GET /things/:name", spans[0].Name)
	require.Equal(t, trace.SpanKindServer, spans[0].SpanKind)
	attributes := attribute.NewSet(spans[0].Attributes...)
	status, _ := attributes.Value("http.response.status_code")
	require.EqualValues(t, 204, status.AsInt64())
	for _, a := range spans[0].Attributes {
		require.NotContains(t, a.Value.String(), "alice")
		require.NotContains(t, a.Value.String(), "hunter2")
	}
	require.Equal(t, "GET", r.get("/nowhere/alice", "")[0].Name)
	require.Empty(t, r.get("/api/health", ""))
}

func TestTheLogAndTheHistogramNameTheTrace(t *testing.T) {
	r := newTraced(t, httpserver.Config{}, sdk.AlwaysSample(), fine)
	sc := r.get("/things/alice", "")[0].SpanContext
	require.Contains(t, r.logs.String(), `"trace_id":"`+sc.TraceID().String()+`","span_id":"`+sc.SpanID().String()+`"`)
	req := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", "application/openmetrics-text")
	w := httptest.NewRecorder()
	r.server.AdminHandler().ServeHTTP(w, req)
	require.Contains(t, w.Body.String(), `# {trace_id="`+sc.TraceID().String()+`"}`)
}

// TestAStrangersTraceIsLinkedTo: the caller decides neither what is sampled nor the trace id.
func TestAStrangersTraceIsLinkedTo(t *testing.T) {
	r := newTraced(t, httpserver.Config{}, sdk.ParentBased(sdk.AlwaysSample()), fine)
	for _, header := range []string{strangersHeader, strangersHeader[:53] + "00"} {
		span := r.get("/things/alice", header)[0]
		require.NotEqual(t, strangersTrace, span.SpanContext.TraceID().String())
		require.False(t, span.Parent.IsValid())
		require.Len(t, span.Links, 1)
		require.Equal(t, strangersSpan, span.Links[0].SpanContext.SpanID().String())
	}
	require.Empty(t, r.get("/things/alice", "nonsense")[0].Links)
	never := newTraced(t, httpserver.Config{}, sdk.ParentBased(sdk.NeverSample()), fine)
	require.Empty(t, never.get("/things/alice", strangersHeader))
}

func TestATraceGoesOnWhereItsHeaderIsTrusted(t *testing.T) {
	r := newTraced(t, httpserver.Config{TrustTrace: true}, sdk.ParentBased(sdk.NeverSample()), fine)
	span := r.get("/things/alice", strangersHeader)[0]
	require.Equal(t, strangersTrace, span.SpanContext.TraceID().String())
	require.Equal(t, strangersSpan, span.Parent.SpanID().String())
	require.Empty(t, r.get("/things/alice", strangersHeader[:53]+"00"))
	require.Empty(t, r.get("/things/alice", ""))
}

func TestAFailureIsRecordedAndARefusalIsNot(t *testing.T) {
	broken := newTraced(t, httpserver.Config{}, sdk.AlwaysSample(), func(*gin.Context) error { return errors.New("the disk is full") })
	span := broken.get("/things/alice", "")[0]
	require.Equal(t, codes.Error, span.Status.Code)
	require.Len(t, span.Events, 1)
	for _, refused := range broken.get("/nowhere", "") {
		require.Equal(t, codes.Unset, refused.Status.Code)
		require.Empty(t, refused.Events)
	}
	panics := newTraced(t, httpserver.Config{}, sdk.AlwaysSample(), func(*gin.Context) error { panic("at the disk") })
	require.Equal(t, codes.Error, panics.get("/things/alice", "")[0].Status.Code)
}

// TestWithTracingOffARequestCostsWhatItDid: no additional allocation, whatever the header.
func TestWithTracingOffARequestCostsWhatItDid(t *testing.T) {
	r := newTraced(t, httpserver.Config{}, nil, fine)
	allocations := func(header string) float64 {
		req := httptest.NewRequest(http.MethodGet, "/things/alice", nil)
		req.Header.Set("X-Request-ID", "fixed")
		req.Header.Set("traceparent", header)
		w := httptest.NewRecorder()
		// Many together: under the race detector a sync.Pool randomly drops some values.
		const requests = 4000
		return testing.AllocsPerRun(5, func() {
			for range requests {
				r.logs.Reset()
				r.server.Handler().ServeHTTP(w, req)
			}
		}) / requests
	}
	require.InDelta(t, allocations(""), allocations(strangersHeader), 0.5)
	require.NotContains(t, r.logs.String(), "trace_id")
}
