package service

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/internal/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// settings are a configuration whose engines do not exist.
func settings(more ...string) []string {
	return append([]string{
		"MONGODB_URI=mongodb://127.0.0.1:1/", "REDIS_URL=redis://127.0.0.1:1/0", "NATS_URL=nats://127.0.0.1:1",
	}, more...)
}

func TestFaultsOfTheConfigurationAreReportedByName(t *testing.T) {
	for _, fault := range []string{
		"PORT=70000", "PORT=-1", "RATE_LIMIT=maybe", "SHUTDOWN_TIMEOUT=0s", "REVOCATION_MAX_STALENESS=-1s", "MONGODB_URI=http://x",
		"MONGODB_MAX_POOL_SIZE=0", "MONGODB_TIMEOUT=0s", "REDIS_URL=nowhere", "REDIS_MODE=many", "REDIS_CA_FILE=/nowhere", "REDIS_CERT_FILE=/nowhere",
		"NATS_CA_FILE=/nowhere", "NATS_CERT_FILE=/nowhere",
		"LAME_DUCK=-1s", "TRUSTED_PROXIES=everybody", "IDLE_TIMEOUT=0s", "MAX_HEADER_BYTES=1",
	} {
		name, _, _ := strings.Cut(fault, "=")
		require.ErrorContains(t, config.Load(&Config{}, settings(fault)), name, fault)
	}
	err := config.Load(&Config{}, nil)
	for _, name := range []string{"MONGODB_URI", "REDIS_URL", "NATS_URL"} {
		require.ErrorContains(t, err, name)
	}
	require.NoError(t, config.Load(&Config{}, settings()))
}

func TestFaultsDoNotShowPasswords(t *testing.T) {
	for _, fault := range []string{"MONGODB_URI=mongodb://u:hunter2@h:x:y/", "REDIS_URL=redis://u:hunter2@h:x:y/0"} {
		err := config.Load(&Config{}, settings(fault))
		require.Error(t, err, fault)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

// command runs a command line with a configuration.
func command(ctx context.Context, args string, environ []string) (out, logs string, err error) {
	var cfg Config
	var o, l bytes.Buffer
	p := program{name: "test", cfg: &cfg, common: &cfg, out: &o, logs: &l, run: func(context.Context, io.Writer) error {
		return fmt.Errorf("runs with pool size %d", cfg.Mongo.MaxPoolSize)
	}}
	err = p.command(ctx, strings.Fields(args), environ)
	return o.String(), l.String(), err
}

func TestTheCommandLine(t *testing.T) {
	_, _, err := command(t.Context(), "", settings("MONGODB_MAX_POOL_SIZE=7"))
	require.EqualError(t, err, "runs with pool size 7")
	_, _, err = command(t.Context(), "", nil)
	require.ErrorContains(t, err, "MONGODB_URI")
	_, help, err := command(t.Context(), "help", nil)
	require.NoError(t, err)
	for _, text := range []string{"test healthcheck", "create-indexes", "new-epoch", "MONGODB_URI", "REDIS_URL", "NATS_URL", "PORT"} {
		require.Contains(t, help, text)
	}
}

// freeAddress is an address that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// TestANodeSaysWhatItWaitsFor at its admin port while the database is unavailable, and stops when asked to.
func TestANodeSaysWhatItWaitsFor(t *testing.T) {
	var cfg Config
	admin := freeAddress(t)
	require.NoError(t, config.Load(&cfg, settings("ADMIN_ADDRESS="+admin, "MONGODB_TIMEOUT=100ms")))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, "test", cfg, io.Discard, func(context.Context, *Node) error { return fmt.Errorf("nothing to build on") })
	}()
	t.Cleanup(stop)
	require.Eventually(t, func() bool {
		err := httpserver.Healthcheck(ctx, admin)
		return err != nil && strings.Contains(err.Error(), "waiting for MongoDB")
	}, patience, time.Millisecond)
	stop()
	select {
	case err := <-ended:
		require.NoError(t, err)
	case <-time.After(patience):
		t.Fatal("it does not end")
	}
	require.Error(t, httpserver.Healthcheck(t.Context(), admin), "nobody is there any more")
	require.ErrorContains(t, httpserver.Healthcheck(t.Context(), "nonsense"), "ADMIN_ADDRESS")
}

func TestIndexesAndEpochsAreMadeByTheCommandLine(t *testing.T) {
	uri, name := enginetest.URL(t, enginetest.Mongo), "test_"+strings.ToLower(rand.Text())
	client, err := driver.Connect(options.Client().ApplyURI(uri))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, client.Database(name).Drop(context.Background()))
		require.NoError(t, client.Disconnect(context.Background()))
	})
	environ := settings("MONGODB_URI="+uri, "MONGODB_DATABASE="+name)
	for range 2 {
		_, _, err = command(t.Context(), "create-indexes", environ)
		require.NoError(t, err)
	}
	cursor, err := client.Database(name).Collection("inbox").Indexes().List(t.Context())
	require.NoError(t, err)
	var indexes []bson.M
	require.NoError(t, cursor.All(t.Context(), &indexes))
	require.Len(t, indexes, 2, "that of _id, of the expiry")
	first, _, err := command(t.Context(), "new-epoch", environ)
	require.NoError(t, err)
	second, _, err := command(t.Context(), "new-epoch", environ)
	require.NoError(t, err)
	require.NotEmpty(t, strings.TrimSpace(first))
	require.NotEqual(t, first, second)
}
