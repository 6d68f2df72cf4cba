package e2e

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/blackbox/apitest"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/store/pebble"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/standalone/app"
)

func TestTheHTTPContract(t *testing.T) {
	apitest.Run(t, deploy(t, nil))
}

// deploy runs a server in this process, so that its coverage is measured.
func deploy(t *testing.T, settings map[string]string) apitest.Target {
	dir := t.TempDir()
	environ := []string{
		"HOST=127.0.0.1", "PORT=0", "ADMIN_ADDRESS=127.0.0.1:0", "DATA_DIR=" + dir, "ARGON2_MEMORY=64KiB", "ARGON2_TIME=1",
		"RATE_LIMIT=off", "DRAIN_TIME=100ms",
	}
	for name, value := range settings {
		environ = append(environ, name+"="+value)
	}
	var cfg app.Config
	require.NoError(t, config.Load(&cfg, environ))
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
	return apitest.Target{
		BaseURL: server.URL(), SigningKey: signingKey(t, dir),
		With:     deploy,
		Snapshot: func() (string, error) { return snapshot(t, cfg) },
	}
}

func signingKey(t *testing.T, dir string) ed25519.PrivateKey {
	text, err := os.ReadFile(filepath.Join(dir, "signing-keys", "signing.pem"))
	require.NoError(t, err)
	key, err := token.ParsePrivateKey(text)
	require.NoError(t, err)
	return key
}

// snapshot returns a digest of a server's store.
func snapshot(t *testing.T, cfg app.Config) (digest string, err error) {
	copied := filepath.Join(t.TempDir(), "copy")
	if err := app.Backup(t.Context(), cfg, copied); err != nil {
		return "", err
	}
	s, err := pebble.Open(t.Context(), filepath.Join(copied, "store"), pebble.Options{})
	if err != nil {
		return "", err
	}
	digest, err = s.Digest(t.Context())
	return digest, errors.Join(err, s.Close())
}
