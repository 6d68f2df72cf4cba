package lifecycle_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStepsAreTakenLastInFirstOutAndOnce(t *testing.T) {
	s := lifecycle.NewStack(slog.New(slog.DiscardHandler))
	var order []string
	for _, name := range []string{"store", "bus", "server"} {
		s.Push(name, func(context.Context) error { order = append(order, name); return nil })
	}
	require.NoError(t, s.Stop(t.Context()))
	require.NoError(t, s.Stop(t.Context()))
	require.Equal(t, []string{"server", "bus", "store"}, order)
}

func TestAFailingStepIsNamedAndDoesNotKeepTheOthersFromRunning(t *testing.T) {
	s := lifecycle.NewStack(slog.New(slog.DiscardHandler))
	ran := false
	s.Push("store", func(context.Context) error { ran = true; return nil })
	s.Push("bus", func(context.Context) error { return errors.New("stuck") })
	require.ErrorContains(t, s.Stop(t.Context()), "stop bus: stuck")
	require.True(t, ran)
}

func TestAGoroutineIsCancelledAndAwaited(t *testing.T) {
	s := lifecycle.NewStack(slog.New(slog.DiscardHandler))
	ended := false
	s.Go("loop", func(ctx context.Context) { <-ctx.Done(); ended = true })
	require.NoError(t, s.Stop(t.Context()))
	require.True(t, ended)
}

func TestStopIsBoundedByItsContext(t *testing.T) {
	s := lifecycle.NewStack(slog.New(slog.DiscardHandler))
	release := make(chan struct{})
	s.Go("stubborn", func(context.Context) { <-release })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Stop(ctx), context.Canceled)
	close(release)
}
