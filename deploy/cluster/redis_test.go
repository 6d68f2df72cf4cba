package cluster_test

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/engines"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/inbox/redisseq"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/ratelimit/redislimit"
	"github.com/sealpost/sealpost/pkg/redisclient"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/revocation/redislog"
)

// redisServer starts a Redis with some options on a port. url is how it is asked whether it is there.
func redisServer(t *testing.T, port int, url, caFile string, args ...string) *engines.Engine {
	t.Helper()
	e, err := engines.StartProgram(t.Context(), nil, engines.Program{
		Name: fmt.Sprint("redis-", port), Path: engines.RedisServer(), Addr: fmt.Sprint("127.0.0.1:", port),
		Args: append(args, "--bind", "127.0.0.1", "--dir", t.TempDir(), "--save", "", "--daemonize", "no"),
		Ready: func(ctx context.Context) error {
			client, err := redisclient.Open(redisclient.Config{URL: config.Secret(url), Mode: redisclient.Single, CA: caFile}, nil)
			if err != nil {
				return err
			}
			defer func() { _ = client.Close() }()
			return client.Ping(ctx).Err()
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// ports are free ports.
func ports(t *testing.T, n int) []int {
	t.Helper()
	list, err := engines.FreePorts(n)
	require.NoError(t, err)
	return list
}

// certificate writes a certificate of 127.0.0.1, which vouches for itself, and its key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	pair := s.TLS.Certificates[0]
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	folder := t.TempDir()
	write := func(name, kind string, content []byte) string {
		file := filepath.Join(folder, name)
		require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}), 0o600))
		return file
	}
	return write("cert.pem", "CERTIFICATE", pair.Certificate[0]), write("key.pem", "PRIVATE KEY", key)
}

// openRedis opens a client as a service does.
func openRedis(t *testing.T, c redisclient.Config) *redisclient.Client {
	t.Helper()
	require.NoError(t, c.Validate())
	client, err := redisclient.Open(c, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// everythingWorks counts, limits and revokes.
func everythingWorks(t *testing.T, client *redisclient.Client, round string) {
	t.Helper()
	users, floors := []string{}, map[string]int64{}
	for i := range 20 { // so many that a Cluster keeps them on all its nodes
		users = append(users, fmt.Sprint("user", i, round))
		floors[users[i]] = int64(i)
	}
	sequencer := redisseq.New(client, time.Hour, client.Incarnation)
	taken, err := sequencer.Next(t.Context(), users)
	require.NoError(t, err)
	require.Equal(t, make([]int64, len(users)), taken, "no counter is there")
	require.NoError(t, sequencer.Raise(t.Context(), floors))
	taken, err = sequencer.Next(t.Context(), users)
	require.NoError(t, err)
	for i, at := range taken {
		require.EqualValues(t, i+1, at)
	}

	limiter := redislimit.New(client, "test"+round, ratelimit.Quota{Events: 1, Period: time.Hour})
	for _, want := range []bool{true, false} {
		r, err := limiter.Allow(t.Context(), "ann")
		require.NoError(t, err)
		require.Equal(t, want, r.Allowed)
	}

	log := redislog.New(client)
	record := revocation.Record{TokenID: "token" + round, Subject: "ann", ExpiresAt: time.Now().Add(time.Hour)}
	require.NoError(t, log.Append(t.Context(), record))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = log.Follow(ctx, func(r revocation.Record) {
		if r.TokenID == record.TokenID {
			cancel()
		}
	}, func() {})
	require.ErrorIs(t, err, context.Canceled, "the record was read")
}

func TestRedisWithAPasswordAndTLS(t *testing.T) {
	cert, key := certificate(t)
	port := ports(t, 1)[0]
	address := fmt.Sprintf("rediss://:secret@127.0.0.1:%d/0", port)
	redisServer(t, port, address, cert, "--port", "0", "--tls-port", fmt.Sprint(port), "--tls-cert-file", cert, "--tls-key-file", key,
		"--tls-auth-clients", "no", "--requirepass", "secret")
	everythingWorks(t, openRedis(t, redisclient.Config{URL: config.Secret(address), Mode: redisclient.Single, CA: cert}), "")
	for what, c := range map[string]redisclient.Config{
		"an authority that is not known": {URL: config.Secret(address), Mode: redisclient.Single},
		"another password":               {URL: config.Secret(strings.Replace(address, "secret", "guess", 1)), Mode: redisclient.Single, CA: cert},
		"no TLS":                         {URL: config.Secret(strings.Replace(address, "rediss", "redis", 1)), Mode: redisclient.Single},
	} {
		err := openRedis(t, c).Ping(t.Context()).Err()
		require.Error(t, err, what)
		require.NotContains(t, err.Error(), "guess")
	}
}

func TestRedisWithSentinelsGoesOnAfterItsMasterHasDied(t *testing.T) {
	list := ports(t, 5)
	at := func(i int) string { return fmt.Sprintf("redis://127.0.0.1:%d/0", list[i]) }
	master := redisServer(t, list[0], at(0), "", "--port", fmt.Sprint(list[0]))
	redisServer(t, list[1], at(1), "", "--port", fmt.Sprint(list[1]), "--replicaof", fmt.Sprintf("127.0.0.1 %d", list[0]))
	query := url.Values{"master_name": {"sealpost"}, "addr": {}}
	for _, port := range list[2:] {
		file := filepath.Join(t.TempDir(), "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor sealpost 127.0.0.1 %d 2\nsentinel down-after-milliseconds sealpost 1000\nsentinel failover-timeout sealpost 5000\n", list[0])
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		redisServer(t, port, fmt.Sprintf("redis://127.0.0.1:%d/0", port), "", file, "--sentinel", "--port", fmt.Sprint(port))
		query.Add("addr", fmt.Sprint("127.0.0.1:", port))
	}
	client := openRedis(t, redisclient.Config{
		URL: config.Secret(fmt.Sprintf("redis://127.0.0.1:%d/0?%s", list[2], query.Encode())), Mode: redisclient.Sentinel,
	})
	everythingWorks(t, client, "before")
	sentinel := redis.NewSentinelClient(&redis.Options{Addr: fmt.Sprint("127.0.0.1:", list[2])})
	t.Cleanup(func() { require.NoError(t, sentinel.Close()) })
	until(t, "the Sentinels know the replica and each other", func() bool {
		replicas, _ := sentinel.Replicas(t.Context(), "sealpost").Result()
		others, _ := sentinel.Sentinels(t.Context(), "sealpost").Result()
		return len(replicas) == 1 && len(others) == 2 && replicas[0]["master-link-status"] == "ok"
	})
	before := client.Incarnation()
	require.NoError(t, master.Kill())
	until(t, "the replica has taken over", func() bool { return client.Set(t.Context(), "alive", 1, 0).Err() == nil })
	require.NotEqual(t, before, client.Incarnation(), "another process holds the counters")
	everythingWorks(t, client, "after")
}

func TestRedisCluster(t *testing.T) {
	const nodes, slots = 3, 16384
	list := ports(t, nodes)
	for _, port := range list {
		redisServer(t, port, fmt.Sprintf("redis://127.0.0.1:%d/0", port), "", "--port", fmt.Sprint(port),
			"--cluster-enabled", "yes", "--cluster-port", fmt.Sprint(ports(t, 1)[0]))
	}
	query := url.Values{}
	for i, port := range list {
		query.Add("addr", fmt.Sprint("127.0.0.1:", port))
		node := redis.NewClient(&redis.Options{Addr: fmt.Sprint("127.0.0.1:", port)})
		t.Cleanup(func() { require.NoError(t, node.Close()) })
		require.NoError(t, node.ClusterAddSlotsRange(t.Context(), i*slots/nodes, (i+1)*slots/nodes-1).Err())
		if i > 0 {
			bus, err := node.ConfigGet(t.Context(), "cluster-port").Result()
			require.NoError(t, err)
			first := redis.NewClient(&redis.Options{Addr: fmt.Sprint("127.0.0.1:", list[0])})
			require.NoError(t, first.Do(t.Context(), "cluster", "meet", "127.0.0.1", port, bus["cluster-port"]).Err())
			require.NoError(t, first.Close())
		}
		until(t, "the slots are served", func() bool {
			info, err := node.ClusterInfo(t.Context()).Result()
			return err == nil && (i < nodes-1 || strings.Contains(info, "cluster_state:ok"))
		})
	}
	address := fmt.Sprintf("redis://127.0.0.1:%d?%s", list[0], query.Encode())
	client := openRedis(t, redisclient.Config{URL: config.Secret(address), Mode: redisclient.Cluster})
	until(t, "every node knows all slots", func() bool {
		return client.UniversalClient.(*redis.ClusterClient).ForEachMaster(t.Context(), func(ctx context.Context, n *redis.Client) error {
			info, err := n.ClusterInfo(ctx).Result()
			if err == nil && !strings.Contains(info, "cluster_state:ok") {
				err = fmt.Errorf("%s", info)
			}
			return err
		}) == nil
	})
	everythingWorks(t, client, "")
}
