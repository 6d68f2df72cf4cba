package catalogue_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/prometheus/catalogue"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/services/standalone/app"
)

// TestTheStandaloneServerTellsWhatTheTableSays before its first request: every series exists from the start.
func TestTheStandaloneServerTellsWhatTheTableSays(t *testing.T) {
	var cfg app.Config
	require.NoError(t, config.Load(&cfg, []string{
		"HOST=127.0.0.1", "PORT=0", "ADMIN_ADDRESS=127.0.0.1:0", "DATA_DIR=" + t.TempDir(), "DRAIN_TIME=100ms",
	}))
	server, err := app.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, server.Stop(ctx))
		require.NoError(t, <-served)
	})
	table, err := catalogue.Read("../../METRICS.md")
	require.NoError(t, err)
	res, err := http.Get(server.AdminURL() + "/metrics")
	require.NoError(t, err)
	defer func() { require.NoError(t, res.Body.Close()) }()
	require.NoError(t, table.Check(catalogue.Standalone, res.Body))
}
