package otlp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/tracing/otlp"
	"github.com/sealpost/sealpost/pkg/tracing/otlptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// journal is a log that can be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// rig is an exporter, with its metrics and log.
type rig struct {
	*otlp.Exporter
	registry *prometheus.Registry
	log      journal
}

func load(t *testing.T, environ ...string) otlp.Config {
	t.Helper()
	var cfg otlp.Config
	require.NoError(t, config.Load(&cfg, environ))
	return cfg
}

func newRig(t *testing.T, environ ...string) *rig {
	t.Helper()
	r := &rig{registry: prometheus.NewRegistry()}
	var err error
	r.Exporter, err = otlp.New(t.Context(), load(t, environ...), otlp.Options{
		Service: "messages", Version: "v1", Instance: "messages-1", Log: slog.New(slog.NewJSONHandler(&r.log, nil)), Registerer: r.registry,
	})
	require.NoError(t, err)
	return r
}

// requests makes n spans.
func (r *rig) requests(n int) {
	for range n {
		_, span := r.Tracer().Start(context.Background(), "request")
		span.End()
	}
}

// counts checks the numbers of spans by outcome.
func (r *rig) counts(exported, failed, dropped int) error {
	return testutil.GatherAndCompare(r.registry, strings.NewReader(fmt.Sprintf(`
		# HELP sealpost_tracing_spans_total Sampled spans, by what became of them: exported, failed (the collector did not take them), dropped (too many were waiting).
		# TYPE sealpost_tracing_spans_total counter
		sealpost_tracing_spans_total{result="dropped"} %d
		sealpost_tracing_spans_total{result="exported"} %d
		sealpost_tracing_spans_total{result="failed"} %d
		`, dropped, exported, failed)), "sealpost_tracing_spans_total")
}

func TestNothingIsTracedUnlessThereIsWhereTo(t *testing.T) {
	for _, environ := range [][]string{
		nil, {"OTEL_EXPORTER_OTLP_ENDPOINT="}, {"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_SDK_DISABLED=true"},
	} {
		r := newRig(t, environ...)
		require.Nil(t, r.Tracer())
		require.NoError(t, r.Stop(t.Context()))
		require.NoError(t, r.counts(0, 0, 0), "the series are there")
	}
}

func TestSpansArriveWithWhoseTheyAre(t *testing.T) {
	c := otlptest.New(t)
	r := newRig(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+c.URL, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20hunter2",
		"OTEL_RESOURCE_ATTRIBUTES=deployment.environment=test,service.version=v2")
	r.requests(3)
	require.NoError(t, r.Stop(t.Context()), "what waits is sent at the end")
	spans := c.Named("request")
	require.Len(t, spans, 3)
	require.Equal(t, map[string]string{
		"service.namespace": "sealpost", "service.name": "messages", "service.version": "v2", "service.instance.id": "messages-1",
		"deployment.environment": "test",
	}, spans[0].Resource)
	require.Equal(t, "Bearer hunter2", c.Headers()[0].Get("Authorization"))
	require.NoError(t, r.counts(3, 0, 0))
	require.NoError(t, r.Stop(t.Context()), "again")
}

func TestTheSamplerDecides(t *testing.T) {
	for sampler, sampled := range map[string]bool{
		"always_on": true, "parentbased_always_on": true, "always_off": false, "parentbased_always_off": false, "parentbased_traceidratio": false,
	} {
		c := otlptest.New(t)
		r := newRig(t, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="+c.URL+"/v1/traces", "OTEL_TRACES_SAMPLER="+sampler, "OTEL_TRACES_SAMPLER_ARG=0")
		r.requests(1)
		require.NoError(t, r.Stop(t.Context()))
		require.Equal(t, sampled, len(c.Spans()) == 1, sampler)
	}
}

func TestACollectorThatFailsIsCountedAndToldOfOnce(t *testing.T) {
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer broken.Close()
	r := newRig(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+broken.URL, "OTEL_BSP_SCHEDULE_DELAY=1")
	for n := 1; n <= 3; n++ {
		r.requests(1)
		require.Eventually(t, func() bool { return r.counts(0, n, 0) == nil }, patience, time.Millisecond)
	}
	require.NoError(t, r.Stop(t.Context()))
	require.Equal(t, 1, strings.Count(r.log.String(), "\n"), r.log.String())
	var line map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.log.String()), &line))
	require.Equal(t, "traces cannot be sent", line["msg"])
}

// TestACollectorThatHangsHoldsNobodyUp: excess spans are dropped, and Stop returns in time.
func TestACollectorThatHangsHoldsNobodyUp(t *testing.T) {
	asked, release := make(chan struct{}, 100), make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, _ *http.Request) {
		asked <- struct{}{}
		<-release
	}))
	defer hanging.Close()
	defer close(release)
	r := newRig(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+hanging.URL, "OTEL_BSP_MAX_QUEUE_SIZE=8", "OTEL_BSP_SCHEDULE_DELAY=1",
		"OTEL_EXPORTER_OTLP_TIMEOUT=3600000")
	r.requests(1)
	<-asked
	r.requests(20)
	require.NoError(t, r.counts(0, 0, 13), "one is on its way, seven wait")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	require.NoError(t, r.Stop(ctx))
	require.Eventually(t, func() bool { return r.counts(0, 8, 13) == nil }, patience, time.Millisecond)
}

func TestFaultsOfTheSettingsAreNamedAndNotShown(t *testing.T) {
	for _, fault := range []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=ftp://x", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
		"OTEL_EXPORTER_OTLP_HEADERS=hunter2", "OTEL_RESOURCE_ATTRIBUTES=x", "OTEL_EXPORTER_OTLP_TIMEOUT=0", "OTEL_BSP_SCHEDULE_DELAY=-1",
		"OTEL_BSP_MAX_QUEUE_SIZE=0", "OTEL_TRACES_SAMPLER=sometimes", "OTEL_TRACES_SAMPLER_ARG=2", "OTEL_EXPORTER_OTLP_CERTIFICATE=/nowhere",
		"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=/nowhere", "OTEL_EXPORTER_OTLP_CLIENT_KEY=/nowhere", "OTEL_EXPORTER_OTLP_ENDPOINT=http://hunter2@%zz",
	} {
		name, _, _ := strings.Cut(fault, "=")
		err := config.Load(&otlp.Config{}, []string{fault})
		require.ErrorContains(t, err, name, fault)
		require.NotContains(t, err.Error(), "hunter2")
	}
	load(t, "OTEL_EXPORTER_OTLP_PROTOCOL=", "OTEL_TRACES_SAMPLER=", "OTEL_SDK_DISABLED=", "OTEL_BSP_MAX_QUEUE_SIZE=")
}
