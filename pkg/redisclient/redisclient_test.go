package redisclient_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/internal/enginetest"
	"github.com/sealpost/sealpost/pkg/redisclient"
)

func TestAnAddressThatCannotBeIsRefusedAndNotShown(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	for what, c := range map[string]redisclient.Config{
		"no scheme":                   {URL: "hunter2", Mode: redisclient.Single},
		"a database that is none":     {URL: "redis://u:hunter2@h:1/x", Mode: redisclient.Single},
		"no name of a set":            {URL: "redis://u:hunter2@h:1/0", Mode: redisclient.Sentinel},
		"a mode that is none":         {URL: "redis://u:hunter2@h:1/0", Mode: "many"},
		"an authority without TLS":    {URL: "redis://u:hunter2@h:1/0", Mode: redisclient.Single, CA: empty},
		"an authority that is not":    {URL: "rediss://u:hunter2@h:1/0", Mode: redisclient.Cluster, CA: empty},
		"an authority that is nobody": {URL: "rediss://u:hunter2@h:1/0", Mode: redisclient.Single, CA: empty + "x"},
	} {
		err := c.Validate()
		require.ErrorContains(t, err, "REDIS_", what)
		require.NotContains(t, err.Error(), "hunter2", what)
	}
}

// TestOperationsAreObserved: a broken connection is a failure, an answer such as "no such key" is not.
func TestOperationsAreObserved(t *testing.T) {
	url := enginetest.URL(t, enginetest.Redis)
	observed := observe(t, url, func(client redis.UniversalClient) {
		require.ErrorIs(t, client.Get(t.Context(), "sealpost:test:nothing").Err(), redis.Nil)
		_, _ = client.Pipelined(t.Context(), func(p redis.Pipeliner) error { return p.Ping(t.Context()).Err() })
		_ = client.XRead(t.Context(), &redis.XReadArgs{Streams: []string{"sealpost:test:none", "$"}, Block: time.Millisecond}).Err()
	})
	require.False(t, observed["get"])
	require.Contains(t, observed, "get")
	require.Contains(t, observed, "pipeline")
	require.NotContains(t, observed, "xread", "it waits on purpose")
}

// TestAnswersThatSayNoAreFailures: a server that is full, read-only, loading or does not permit a command, for a single command and
// in the middle of a pipeline.
func TestAnswersThatSayNoAreFailures(t *testing.T) {
	for answer, failed := range map[string]bool{
		"+OK": false, "$-1": false, "-NOSCRIPT No matching script": false, "-ERR no such key": false,
		"-OOM command not allowed when used memory > 'maxmemory'.": true, "-MISCONF Redis is configured to save RDB snapshots": true,
		"-READONLY You can't write against a read only replica.": true, "-NOPERM this user has no permissions to run the 'get' command": true,
		"-ERR unknown command 'hello'": false, "-WRONGTYPE Operation against a key holding the wrong kind of value": true,
	} {
		observed := observe(t, "redis://"+answering(t, answer)+"/0", func(client redis.UniversalClient) {
			_ = client.Get(t.Context(), "a").Err()
			_, _ = client.Pipelined(t.Context(), func(p redis.Pipeliner) error {
				p.Ping(t.Context())
				p.Get(t.Context(), "a")
				return nil
			})
		})
		require.Equal(t, failed, observed["get"], "%s: %v", answer, observed)
		require.Equal(t, failed, observed["pipeline"], answer)
	}
}

// answering is a server that answers OK to everything except GET.
func answering(t *testing.T, answer string) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	serve := func(c net.Conn) {
		defer func() { _ = c.Close() }()
		for words := bufio.NewScanner(c); words.Scan(); {
			if !strings.HasPrefix(words.Text(), "*") { // a command begins with its number of words
				continue
			}
			words.Scan()
			words.Scan()
			reply := "+OK"
			switch strings.ToLower(words.Text()) {
			case "get":
				reply = answer
			case "hello":
				reply = "-ERR unknown command 'hello'"
			}
			if _, err := io.WriteString(c, reply+"\r\n"); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}

func TestAConnectionThatFailsIsObservedAndLogged(t *testing.T) {
	var mu sync.Mutex
	var text bytes.Buffer
	redisclient.LogTo(slog.New(slog.NewTextHandler(writer(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return text.Write(b)
	}), nil)))
	observed := observe(t, "redis://127.0.0.1:1/0", func(client redis.UniversalClient) {
		require.Error(t, client.Get(t.Context(), "a").Err())
	})
	require.True(t, observed["get"])
	mu.Lock()
	defer mu.Unlock()
	require.Contains(t, text.String(), "connection refused")
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// observe returns the operations observed while use runs, and which of them failed.
func observe(t *testing.T, url string, use func(redis.UniversalClient)) map[string]bool {
	t.Helper()
	client, err := redisclient.Open(redisclient.Config{URL: config.Secret(url), Mode: redisclient.Single}, nil)
	require.NoError(t, err)
	observed := map[string]bool{}
	redisclient.Observe(client, func(_ context.Context, operation string, took time.Duration, failed bool) {
		require.Positive(t, took)
		observed[operation] = failed
	})
	use(client)
	require.NoError(t, client.Close())
	return observed
}
