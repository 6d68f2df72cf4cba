package cluster_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck/crowd"
	"github.com/sealpost/sealpost/deploy/test/cluster"
	"github.com/sealpost/sealpost/deploy/test/engines"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/inbox"
	authapp "github.com/sealpost/sealpost/services/auth/app"
	keysapp "github.com/sealpost/sealpost/services/keys/app"
	messagesapp "github.com/sealpost/sealpost/services/messages/app"
	gatewayapp "github.com/sealpost/sealpost/services/poll-gateway/app"
)

const (
	// serviceVariable makes the test binary run as a service, so that the process under test is built as the tests are.
	serviceVariable = "SEALPOST_TEST_SERVICE"
	// failpointVariable names a file. While it holds the name of a step of a send, the process that reaches the step removes the file and
	// kills itself.
	failpointVariable = "SEALPOST_TEST_FAILPOINT"
	// skewVariable is the clock error of a node's entries.
	skewVariable = "SEALPOST_TEST_CLOCK_SKEW"
)

// patience bounds waits for what must happen, on a machine that may be busy.
const patience = 90 * time.Second

// shared are the engines that all tests use, one after another.
var shared *engines.Engines

func TestMain(m *testing.M) {
	if service := os.Getenv(serviceVariable); service != "" {
		os.Exit(serve(service))
	}
	zerolog.SetGlobalLevel(zerolog.Disabled) // the proxies'
	os.Exit(runTests(m))
}

func serve(service string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	var auth authapp.Process
	var keys keysapp.Process
	var messages messagesapp.Process
	var gateway gatewayapp.Process
	services := map[string]struct {
		config any
		run    func() error
	}{
		cluster.Auth: {&auth, func() error { return authapp.Run(ctx, auth, os.Stderr) }},
		cluster.Keys: {&keys, func() error { return keysapp.Run(ctx, keys, os.Stderr) }},
		cluster.Messages: {&messages, func() error {
			messages.Failpoint, messages.Now = failpoint(os.Getenv(failpointVariable)), skewed
			return messagesapp.Run(ctx, messages, os.Stderr)
		}},
		cluster.Gateway: {&gateway, func() error {
			gateway.Now = skewed
			return gatewayapp.Run(ctx, gateway, os.Stderr)
		}},
	}
	s := services[service]
	err := config.Load(s.config, os.Environ())
	if err == nil {
		err = s.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func skewed() time.Time {
	skew, _ := time.ParseDuration(os.Getenv(skewVariable)) // zero if it is not set
	return time.Now().Add(skew)
}

func failpoint(file string) inbox.Failpoint {
	return func(_ context.Context, step inbox.Step) error {
		text, err := os.ReadFile(file)
		if err == nil && string(text) == string(step) && os.Remove(file) == nil {
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
		return nil
	}
}

// runTests starts engines for these tests alone: the tests stop, kill and empty them.
func runTests(m *testing.M) int {
	if os.Getenv("SEALPOST_ENGINES") != "required" {
		fmt.Fprintln(os.Stderr, "skipped: run these tests by `make test-engines`")
		return 0
	}
	for _, variable := range []string{engines.MongoEnv, engines.RedisEnv, engines.NATSEnv} {
		if err := os.Unsetenv(variable); err != nil {
			panic(err)
		}
	}
	var err error
	if shared, err = engines.Start(context.Background(), engines.All(nil)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := m.Run()
	if err := shared.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// rig is a cluster behind a load balancer, with a proxy before each engine.
type rig struct {
	*cluster.Cluster
	t        *testing.T
	proxies  map[string]*toxiproxy.Proxy
	database string
	// failpoints are the files that make the messages nodes die, by index.
	failpoints []string
}

// options change how a rig is made.
type options struct {
	nodes int
	// perAddress is how many connections an address may have at the load balancer; 0 for its default.
	perAddress int
	// settings are added to a node's environment.
	settings func(service string, index int) []string
}

// newRig starts a cluster with its own database, an empty Redis, and proxies.
func newRig(t *testing.T, o options) *rig {
	t.Helper()
	r := &rig{t: t, proxies: map[string]*toxiproxy.Proxy{}}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, e := range []*engines.Engine{shared.Mongo, shared.Redis, shared.NATS} {
		require.NoError(t, e.Start(ctx)) // a test may have left it stopped
	}
	require.NoError(t, shared.Redis.Flush(ctx))
	r.database = "test_" + strings.ToLower(rand.Text())
	environ := []string{
		"MONGODB_URI=mongodb://" + r.proxy("mongo", shared.Mongo.Addr()) + "/", "MONGODB_DATABASE=" + r.database,
		"REDIS_URL=redis://" + r.proxy("redis", shared.Redis.Addr()) + "/0",
		"NATS_URL=nats://" + r.proxy("nats", shared.NATS.Addr()),
		"ARGON2_MEMORY=64KiB", "ARGON2_TIME=1", "RATE_LIMIT=off", "POLL_WAIT=2s", "LAME_DUCK=2s", "DRAIN_TIME=1s", "SHUTDOWN_TIMEOUT=20s",
		"TRUSTED_PROXIES=127.0.0.1", "LOG_LEVEL=info",
	}
	folder := t.TempDir()
	nodes := max(2, o.nodes)
	for i := range nodes {
		r.failpoints = append(r.failpoints, filepath.Join(folder, fmt.Sprint("failpoint-", i)))
	}
	var err error
	r.Cluster, err = cluster.Start(ctx, cluster.Options{
		Engines: environ, Nodes: nodes, LoadBalancer: "../../lb/haproxy.cfg", ConnectionsPerAddress: o.perAddress,
		Program: func(service string) (string, []string) {
			return executable(t), []string{serviceVariable + "=" + service}
		},
		Environ: func(service string, index int) []string {
			environ := []string{failpointVariable + "=" + r.failpoints[index-1]}
			if o.settings != nil {
				environ = append(environ, o.settings(service, index)...)
			}
			return environ
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			r.showLogs()
		}
		require.NoError(t, r.Close())
	})
	return r
}

func executable(t *testing.T) string {
	path, err := os.Executable()
	require.NoError(t, err)
	return path
}

// proxy puts a proxy in front of an address and returns the proxy's address.
func (r *rig) proxy(name, upstream string) string {
	r.t.Helper()
	r.proxies[name] = newProxy(r.t, name, upstream)
	return r.proxies[name].Listen
}

func newProxy(t *testing.T, name, upstream string) *toxiproxy.Proxy {
	t.Helper()
	ports, err := engines.FreePorts(1)
	require.NoError(t, err)
	logger := zerolog.Nop()
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), logger), name, fmt.Sprintf("127.0.0.1:%d", ports[0]), upstream)
	require.NoError(t, p.Start())
	t.Cleanup(p.Stop)
	return p
}

// showLogs prints the ends of the nodes' logs.
func (r *rig) showLogs() {
	for _, n := range r.All() {
		if n.Engine == nil {
			continue
		}
		f, err := os.Open(n.LogFile())
		if err != nil {
			continue
		}
		text, _ := io.ReadAll(f)
		_ = f.Close()
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		r.t.Logf("%s:\n%s", n.Name(), bytes.Join(lines[max(0, len(lines)-12):], []byte("\n")))
	}
}

// metric returns the sum of a metric's series at a node whose labels contain all the given texts.
func (r *rig) metric(n *cluster.Node, name string, labels ...string) float64 {
	r.t.Helper()
	text, err := n.AdminGet(r.t.Context(), "/metrics")
	require.NoError(r.t, err)
	sum := 0.0
lines:
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if bare, _, _ := strings.Cut(series, "{"); bare != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(series, l) {
				continue lines
			}
		}
		v, err := strconv.ParseFloat(value, 64)
		require.NoError(r.t, err)
		sum += v
	}
	return sum
}

const (
	// idleGoroutines and idleBytes are more than an idle node needs, and much less than one that leaks what it was asked. The race detector
	// takes several times the memory.
	idleGoroutines = 300
	idleBytes      = 1 << 30
)

// nothingGrew requires that each idle node is back to its idle size.
func (r *rig) nothingGrew() {
	r.t.Helper()
	for _, n := range r.All() {
		until(r.t, n.Name()+" gives its goroutines back", func() bool { return r.metric(n, "go_goroutines") < idleGoroutines })
		require.Less(r.t, r.metric(n, "process_resident_memory_bytes"), float64(idleBytes), n.Name())
	}
}

// cut puts a proxy in front of the load balancer that ends each connection after some bytes of answers.
func (r *rig) cut() string {
	address := "http://" + r.proxy("client", r.Balancer.Addr())
	r.toxic("client", `{"name":"cut","type":"limit_data","stream":"downstream","attributes":{"bytes":12000}}`)
	return address
}

func (r *rig) toxic(proxy, description string) {
	r.t.Helper()
	_, err := r.proxies[proxy].Toxics.AddToxicJson(strings.NewReader(description))
	require.NoError(r.t, err)
}

// sever ends all connections through a proxy; new ones can be made at once.
func (r *rig) sever(proxy string) {
	r.t.Helper()
	r.proxies[proxy].Stop()
	require.NoError(r.t, r.proxies[proxy].Start())
}

// crowdOf makes a crowd of users of the cluster.
func (r *rig) crowdOf(n int, change ...func(*crowd.Options)) *crowd.Crowd {
	r.t.Helper()
	o := crowd.Options{
		URL: r.Balancer.URL(), Cut: r.cut(), Users: n, Senders: n, Pause: 400 * time.Millisecond, MaxRecipients: 4,
		Prefix: "u" + strings.ToLower(rand.Text()[:6]) + "_",
	}
	for _, f := range change {
		f(&o)
	}
	c, err := crowd.New(r.t.Context(), o)
	require.NoError(r.t, err)
	return c
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, patience, 10*time.Millisecond, what)
}

// moreSends waits until n more sends have been acknowledged.
func moreSends(t *testing.T, c *crowd.Crowd, n int64) {
	t.Helper()
	want := c.Acknowledged() + n
	until(t, fmt.Sprint(n, " more sends"), func() bool { return c.Acknowledged() >= want })
}

// judge ends a crowd, prints its report and requires that there are no faults.
func (r *rig) judge(c *crowd.Crowd) crowd.Report {
	r.t.Helper()
	report := c.Finish()
	r.t.Log(report.String())
	require.Empty(r.t, report.Faults)
	r.nothingGrew()
	return report
}
