package tracing_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/tracing"
)

// recorded returns the spans that use adds to the trace of a request.
func recorded(t *testing.T, sampler sdk.Sampler, use func(ctx context.Context)) tracetest.SpanStubs {
	t.Helper()
	memory := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(memory), sdk.WithSampler(sampler))
	ctx, span := provider.Tracer("test").Start(t.Context(), "request")
	use(ctx)
	span.End()
	return memory.GetSpans()
}

func work(ctx context.Context) {
	ctx, span := tracing.Start(ctx, "step", trace.SpanKindInternal)
	tracing.Operation(ctx, "mongodb", "find", time.Millisecond, true)
	tracing.End(span, errors.New("it broke"))
}

func TestStepsAndOperationsStandWithinTheRequest(t *testing.T) {
	spans := recorded(t, sdk.AlwaysSample(), work)
	require.Len(t, spans, 3)
	operation, step, request := spans[0], spans[1], spans[2]
	require.Equal(t, "mongodb find", operation.Name)
	require.Equal(t, step.SpanContext.SpanID(), operation.Parent.SpanID())
	require.Equal(t, request.SpanContext.SpanID(), step.Parent.SpanID())
	require.Equal(t, time.Millisecond, operation.EndTime.Sub(operation.StartTime))
	for _, s := range spans[:2] {
		require.Equal(t, codes.Error, s.Status.Code)
		require.Equal(t, request.SpanContext.TraceID(), s.SpanContext.TraceID())
	}
}

// TestWhatIsNotSampledCostsNothing: neither spans nor allocations, whether tracing is off or the request is not sampled.
func TestWhatIsNotSampledCostsNothing(t *testing.T) {
	off := func(ctx context.Context) {
		step, span := tracing.Start(ctx, "step", trace.SpanKindInternal)
		tracing.Operation(step, "mongodb", "find", time.Millisecond, false)
		tracing.End(span, nil)
		_, there := tracing.Remote(ctx, "")
		if there || tracing.Traceparent(tracing.Sampled(ctx)) != "" || tracing.Parse("") != nil || tracing.With(ctx, nil) != ctx {
			t.Error("there is something to tell")
		}
	}
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(100, func() { off(ctx) }), "off")
	require.Empty(t, recorded(t, sdk.NeverSample(), func(ctx context.Context) {
		require.Zero(t, testing.AllocsPerRun(100, func() { off(ctx) }), "not sampled")
	}))
}

func TestATraceGoesOnElsewhereByItsHeader(t *testing.T) {
	recorded(t, sdk.AlwaysSample(), func(ctx context.Context) {
		header := tracing.Traceparent(tracing.Sampled(ctx))
		require.Len(t, header, 55)
		remote, there := tracing.Remote(t.Context(), header)
		require.True(t, there)
		here := trace.SpanContextFromContext(ctx)
		require.Equal(t, here.TraceID(), tracing.Sampled(remote).TraceID())
		require.Equal(t, here.SpanID(), tracing.Sampled(remote).SpanID())
		require.Equal(t, tracing.Sampled(remote), tracing.Parse(header))
	})
	const unsampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	remote, there := tracing.Remote(t.Context(), unsampled)
	require.True(t, there)
	require.Nil(t, tracing.Sampled(remote))
	require.Nil(t, tracing.Parse(unsampled))
}

func FuzzRemote(f *testing.F) {
	for _, seed := range []string{
		"", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-0-0-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"00-00000000000000000000000000000000-b7ad6b7169203331-01", "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		ctx, there := tracing.Remote(context.Background(), header)
		if sc := trace.SpanContextFromContext(ctx); there != sc.IsValid() {
			t.Fatalf("%q: there %v, valid %v", header, there, sc.IsValid())
		}
	})
}
