package e2e

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/apitest"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/standalone/app"
)

func TestTheHTTPContract(t *testing.T) {
	apitest.Run(t, deploy(t, nil))
}

// deploy runs a server in this process, so that the coverage of what it does is told.
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
		Snapshot: func() (string, error) { return snapshot(filepath.Join(dir, "sealpost.db")) },
	}
}

func signingKey(t *testing.T, dir string) ed25519.PrivateKey {
	text, err := os.ReadFile(filepath.Join(dir, "signing-keys", "signing.pem"))
	require.NoError(t, err)
	key, err := token.ParsePrivateKey(text)
	require.NoError(t, err)
	return key
}

// snapshot digests every row of every table.
func snapshot(path string) (string, error) {
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=query_only(1)&_pragma=busy_timeout(5000)")
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()
	sum := sha256.New()
	for _, table := range []string{"accounts", "keys", "meta", "inbox", "inbox_tails", "messages", "revocations"} {
		rows, err := db.Query("SELECT * FROM " + table + " ORDER BY 1, 2")
		if err != nil {
			return "", err
		}
		columns, err := rows.Columns()
		if err != nil {
			return "", err
		}
		for rows.Next() {
			values, places := make([]any, len(columns)), make([]any, len(columns))
			for i := range values {
				places[i] = &values[i]
			}
			if err := rows.Scan(places...); err != nil {
				return "", err
			}
			_, _ = fmt.Fprintln(sum, table, values) // a hash takes everything
		}
		if err := rows.Err(); err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
