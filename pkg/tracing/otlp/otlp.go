// Package otlp sends the traces of a process to an OpenTelemetry collector, over OTLP/HTTP: in batches, from a bounded queue. It
// never makes a request wait or fail.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/tracing"
)

const (
	// flushTimeout bounds the last flush: an unavailable collector must not delay a shutdown.
	flushTimeout = 5 * time.Second
	// complainEvery is how often the log reports that spans cannot be sent.
	complainEvery = time.Minute
	firstRetry    = time.Second
	lastRetry     = 5 * time.Second
)

// Options describe the traced process.
type Options struct {
	// Service, Version and Instance describe the process in its spans.
	Service, Version, Instance string
	Log                        *slog.Logger
	Registerer                 prometheus.Registerer
}

// Exporter makes spans and sends them. Call Stop when done.
type Exporter struct {
	provider  *sdk.TracerProvider
	transport *http.Transport
	// closing ends when the time for the last batches is over.
	closing context.Context
	cut     context.CancelFunc
}

// New makes an Exporter. With tracing off it makes no spans.
func New(ctx context.Context, cfg Config, o Options) (*Exporter, error) {
	m := newMetrics(o.Registerer)
	if !cfg.On() {
		return &Exporter{}, nil
	}
	sampler, err := cfg.sampler()
	if err != nil {
		return nil, err
	}
	e := &Exporter{}
	client, err := e.client(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("OTLP: %w", err)
	}
	e.closing, e.cut = context.WithCancel(context.WithoutCancel(ctx))
	out := &outlet{SpanExporter: client, metrics: m, log: o.Log, closing: e.closing}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(out.complain)) // the library's only way to report errors
	batches := sdk.NewBatchSpanProcessor(out, sdk.WithMaxQueueSize(cfg.Queue), sdk.WithExportTimeout(cfg.timeout()),
		sdk.WithBatchTimeout(time.Duration(cfg.Delay)*time.Millisecond))
	e.provider = sdk.NewTracerProvider(sdk.WithSampler(sampler), sdk.WithResource(resource.NewSchemaless(cfg.resource(o)...)),
		sdk.WithSpanProcessor(&bounded{SpanProcessor: batches, outlet: out, most: int64(cfg.Queue)}))
	return e, nil
}

func (e *Exporter) client(ctx context.Context, cfg Config) (sdk.SpanExporter, error) {
	trust, err := cfg.tls()
	if err != nil {
		return nil, err
	}
	headers, err := pairs(cfg.Headers.Reveal())
	if err != nil {
		return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS cannot be parsed")
	}
	url, err := cfg.url()
	if err != nil {
		return nil, err
	}
	e.transport = http.DefaultTransport.(*http.Transport).Clone()
	e.transport.TLSClientConfig = trust
	return otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(url), otlptracehttp.WithHeaders(headers),
		otlptracehttp.WithHTTPClient(&http.Client{Transport: e.transport, Timeout: cfg.timeout()}),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression), otlptracehttp.WithTimeout(cfg.timeout()),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: firstRetry, MaxInterval: lastRetry, MaxElapsedTime: cfg.timeout(),
		}))
}

// Tracer makes spans; nil means that tracing is off.
func (e *Exporter) Tracer() trace.Tracer {
	if e.provider == nil {
		return nil
	}
	return e.provider.Tracer(tracing.Scope)
}

// Stop sends the remaining spans, within a limited time. What the collector did not take is lost; that is not an error.
func (e *Exporter) Stop(ctx context.Context) error {
	if e.provider == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, e.cut)()
	err := e.provider.Shutdown(ctx)
	e.cut()
	e.transport.CloseIdleConnections()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// bounded drops and counts spans for which the queue behind it has no room.
type bounded struct {
	sdk.SpanProcessor
	outlet *outlet
	most   int64
}

// OnEnd implements sdk.SpanProcessor.
func (b *bounded) OnEnd(s sdk.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	if b.outlet.waiting.Add(1) > b.most {
		b.outlet.waiting.Add(-1)
		b.outlet.metrics.dropped.Inc()
		return
	}
	b.SpanProcessor.OnEnd(s)
}

// outlet sends batches, and reports those that were not taken.
type outlet struct {
	sdk.SpanExporter
	metrics *metrics
	log     *slog.Logger
	closing context.Context
	// waiting counts the spans that have ended and were not sent yet.
	waiting atomic.Int64
	// complained is the time of the last log line, in Unix nanoseconds.
	complained atomic.Int64
}

// ExportSpans implements sdk.SpanExporter. The library could do nothing about a failure, so it always gets nil.
func (o *outlet) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(o.closing, cancel)()
	err := o.SpanExporter.ExportSpans(ctx, spans)
	o.waiting.Add(-int64(len(spans)))
	if err != nil {
		o.metrics.failed.Add(float64(len(spans)))
		o.complain(err)
		return nil
	}
	o.metrics.exported.Add(float64(len(spans)))
	return nil
}

// complain logs err, at most once per complainEvery.
func (o *outlet) complain(err error) {
	now, last := time.Now().UnixNano(), o.complained.Load()
	if now-last < int64(complainEvery) || !o.complained.CompareAndSwap(last, now) {
		return
	}
	o.log.Warn("traces cannot be sent", "error", err.Error())
}
