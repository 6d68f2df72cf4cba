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
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/engines"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/redisseq"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/ratelimit/redislimit"
	"github.com/sealpost/sealpost/pkg/redisclient"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/revocation/redislog"
)

// redisServer starts a Redis with some options on a port. It is ready when url answers.
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

// ports returns free ports.
func ports(t *testing.T, n int) []int {
	t.Helper()
	list, err := engines.FreePorts(n)
	require.NoError(t, err)
	return list
}

// certificate writes a self-signed certificate for 127.0.0.1, and its key.
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

// everythingWorks checks counters, rate limits and revocations.
func everythingWorks(t *testing.T, client *redisclient.Client, round string) {
	t.Helper()
	users, floors := []string{}, map[string]int64{}
	for i := range 20 { // enough that a Cluster spreads them over all its nodes
		users = append(users, fmt.Sprint("user", i, round))
		floors[users[i]] = int64(i)
	}
	taken := take(t, redisseq.New(client, redisseq.Config{Retention: time.Hour, Cluster: client.Cluster()}), floors)
	for i, user := range users {
		require.EqualValues(t, i+1, taken[user])
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
	err := log.Follow(ctx, func(r revocation.Record) {
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
	counters := newCounters(t, client, "ann", "ben")
	require.NoError(t, master.Kill())
	counters.areDoubtedOnce(t, "the replica has taken over")
	everythingWorks(t, client, "after")
}

// take takes the next positions of users, above the tails of their inboxes.
func take(t *testing.T, s *redisseq.Sequencer, tails map[string]int64) map[string]int64 {
	t.Helper()
	var wants []inbox.Want
	for user, tail := range tails {
		wants = append(wants, inbox.Want{User: user, Tail: tail, ReadAt: time.Now()})
	}
	taken, err := s.Take(t.Context(), wants)
	require.NoError(t, err)
	positions := map[string]int64{}
	for i, w := range wants {
		positions[w.User] = taken[i]
	}
	return positions
}

// counters are counters that a sequencer trusts.
type counters struct {
	sequencer *redisseq.Sequencer
	wants     []inbox.Want
}

func newCounters(t *testing.T, client *redisclient.Client, users ...string) *counters {
	t.Helper()
	const settling = 100 * time.Millisecond
	c := &counters{sequencer: redisseq.New(client, redisseq.Config{Retention: time.Hour, Settling: settling, Cluster: client.Cluster()})}
	for _, user := range users {
		c.wants = append(c.wants, inbox.Want{User: user})
	}
	until(t, "the counters are believed", func() bool {
		for _, user := range users {
			take(t, c.sequencer, map[string]int64{user: 10})
		}
		return !slices.Contains(c.next(t), 0)
	})
	return c
}

// next takes positions from trusted counters.
func (c *counters) next(t *testing.T) []int64 {
	t.Helper()
	taken, err := c.sequencer.Take(t.Context(), c.wants)
	require.NoError(t, err)
	return taken
}

// areDoubtedOnce waits until Redis answers, and requires that no counter is trusted then.
func (c *counters) areDoubtedOnce(t *testing.T, what string) {
	t.Helper()
	until(t, what, func() bool {
		taken, err := c.sequencer.Take(t.Context(), c.wants)
		if err != nil {
			return false
		}
		require.Equal(t, make([]int64, len(c.wants)), taken)
		return true
	})
	for user, position := range take(t, c.sequencer, map[string]int64{c.wants[0].User: 1000}) {
		require.EqualValues(t, 1001, position, user)
	}
}

// TestAMasterThatWasDemotedAndIsPromotedAgainIsAnotherOne: its connections stay open all the time, but it has the other one's data.
func TestAMasterThatWasDemotedAndIsPromotedAgainIsAnotherOne(t *testing.T) {
	list := ports(t, 2)
	var urls []string
	for _, port := range list {
		urls = append(urls, fmt.Sprintf("redis://127.0.0.1:%d/0", port))
		redisServer(t, port, urls[len(urls)-1], "", "--port", fmt.Sprint(port), "--repl-diskless-sync-delay", "0")
	}
	client := openRedis(t, redisclient.Config{URL: config.Secret(urls[0]), Mode: redisclient.Single})
	counters := newCounters(t, client, "ann", "ben")
	before := counters.next(t)
	connections := func() int64 {
		stats, err := client.InfoMap(t.Context(), "stats").Result()
		require.NoError(t, err)
		n, err := strconv.ParseInt(stats["Stats"]["total_connections_received"], 10, 64)
		require.NoError(t, err)
		return n
	}
	connected := connections()
	require.NoError(t, client.Do(t.Context(), "REPLICAOF", "127.0.0.1", list[1]).Err())
	until(t, "it has the data of the other one", func() bool {
		info, err := client.Info(t.Context(), "replication").Result()
		return err == nil && strings.Contains(info, "master_link_status:up")
	})
	require.NoError(t, client.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err())
	require.Equal(t, connected, connections(), "the client has the connections that it had")
	counters.areDoubtedOnce(t, "it is a master again")
	require.Less(t, before[1], counters.next(t)[1]+1000)
}

func TestRedisCluster(t *testing.T) {
	client, _, _ := redisCluster(t, 0)
	everythingWorks(t, client, "")
}

// TestAReplicaThatLagsIsNotBelievedOnceItIsPromoted: even if the client knew it and was connected to it before.
func TestAReplicaThatLagsIsNotBelievedOnceItIsPromoted(t *testing.T) {
	client, masters, replica := redisCluster(t, 1)
	master := redis.NewClient(&redis.Options{Addr: masters[0].Addr()})
	t.Cleanup(func() { require.NoError(t, master.Close()) })
	var known atomic.Bool
	var users []string
	for i := 0; len(users) < 2; i++ {
		if user := fmt.Sprint("user", i); redisseq.Slot(user) < slots/len(masters) { // a slot of the first master
			users = append(users, user)
		}
	}
	counters := newCounters(t, client, users...)
	cluster := client.UniversalClient.(*redis.ClusterClient)
	until(t, "the client is connected to the replica", func() bool {
		cluster.ReloadState(t.Context())
		return cluster.ForEachSlave(t.Context(), func(ctx context.Context, n *redis.Client) error {
			if n.Options().Addr == replica.Options().Addr {
				known.Store(n.Ping(ctx).Err() == nil)
			}
			return nil
		}) == nil && known.Load()
	})
	until(t, "the replica has all", func() bool {
		lag, err := master.Do(t.Context(), "WAIT", 1, 1000).Int64()
		return err == nil && lag == 1
	})
	require.NoError(t, master.Do(t.Context(), "ACL", "SETUSER", "default", "-sync", "-psync").Err())
	require.NoError(t, master.ClientKillByFilter(t.Context(), "TYPE", "replica").Err())
	until(t, "the replica is cut off", func() bool {
		info, err := replica.Info(t.Context(), "replication").Result()
		return err == nil && strings.Contains(info, "master_link_status:down")
	})
	ahead := counters.next(t)
	for range 5 {
		ahead = counters.next(t)
	}
	require.NotContains(t, ahead, int64(0))
	require.NoError(t, masters[0].Kill())
	require.NoError(t, replica.Do(t.Context(), "CLUSTER", "FAILOVER", "TAKEOVER").Err())
	began := time.Now()
	counters.areDoubtedOnce(t, "the replica has taken over")
	require.Less(t, time.Since(began), 30*time.Second, "the client does not go on with the master that died")
}

// slots is the number of slots of a Cluster.
const slots = 16384

// redisCluster starts three masters and, if wanted, a replica of the first. The client knows them all.
func redisCluster(t *testing.T, replicas int) (client *redisclient.Client, masters []*engines.Engine, replica *redis.Client) {
	t.Helper()
	const nodes = 3
	list := ports(t, nodes+replicas)
	clients := make([]*redis.Client, len(list))
	query := url.Values{}
	for i, port := range list {
		e := redisServer(t, port, fmt.Sprintf("redis://127.0.0.1:%d/0", port), "", "--port", fmt.Sprint(port),
			"--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port", fmt.Sprint(ports(t, 1)[0]), "--repl-diskless-sync-delay", "0")
		query.Add("addr", e.Addr())
		clients[i] = redis.NewClient(&redis.Options{Addr: e.Addr()})
		t.Cleanup(func() { require.NoError(t, clients[i].Close()) })
		if i < nodes {
			masters = append(masters, e)
			require.NoError(t, clients[i].ClusterAddSlotsRange(t.Context(), i*slots/nodes, (i+1)*slots/nodes-1).Err())
		}
		if i > 0 {
			bus, err := clients[i].ConfigGet(t.Context(), "cluster-port").Result()
			require.NoError(t, err)
			require.NoError(t, clients[0].Do(t.Context(), "cluster", "meet", "127.0.0.1", port, bus["cluster-port"]).Err())
		}
	}
	if replicas > 0 {
		replica = clients[nodes]
		id, err := clients[0].ClusterMyID(t.Context()).Result()
		require.NoError(t, err)
		until(t, "the replica knows its master", func() bool { return replica.ClusterReplicate(t.Context(), id).Err() == nil })
	}
	until(t, "every node knows all slots", func() bool {
		return !slices.ContainsFunc(clients, func(n *redis.Client) bool {
			info, err := n.ClusterInfo(t.Context()).Result()
			return err != nil || !strings.Contains(info, "cluster_state:ok") || !strings.Contains(info, fmt.Sprint("cluster_known_nodes:", len(list)))
		})
	})
	address := fmt.Sprintf("redis://%s?%s", masters[0].Addr(), query.Encode())
	return openRedis(t, redisclient.Config{URL: config.Secret(address), Mode: redisclient.Cluster}), masters, replica
}
