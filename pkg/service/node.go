// Package service is what the processes of a cluster share: the command line, the engines that they depend on and wait for, the
// admin port, the order of start and stop.
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/bus/natsbus"
	"github.com/sealpost/sealpost/pkg/bus/redishints"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/lifecycle"
	"github.com/sealpost/sealpost/pkg/livefile"
	"github.com/sealpost/sealpost/pkg/logging"
	"github.com/sealpost/sealpost/pkg/metrics"
	"github.com/sealpost/sealpost/pkg/nodes"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/ratelimit/redislimit"
	"github.com/sealpost/sealpost/pkg/redisclient"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/revocation/redislog"
	"github.com/sealpost/sealpost/pkg/store/mongo"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/token/remotekeys"
	"github.com/sealpost/sealpost/pkg/tracing/otlp"
)

const (
	// attemptTimeout bounds one attempt to reach an engine at start-up.
	attemptTimeout = 10 * time.Second
	minBackoff     = 250 * time.Millisecond
	maxBackoff     = 5 * time.Second
	// memoryRatio is the share of the container's memory that Go's heap and stacks may use.
	memoryRatio = 0.9
)

// Node is a process of a cluster, with the dependencies that every service needs.
type Node struct {
	Name string
	// ID is unique among all nodes.
	ID       string
	Log      *slog.Logger
	Registry *prometheus.Registry
	// Bounds makes what requests share.
	Bounds *admission.Metrics
	Stack  *lifecycle.Stack
	Store  *mongo.Store
	Redis  *redisclient.Client
	Mirror *revocation.Mirror
	// Files reports changes of files.
	Files *livefile.Reporter
	// Tracer makes spans; nil means that tracing is off.
	Tracer trace.Tracer

	cfg     Config
	admin   *httpserver.Admin
	engines *metrics.Engines
	limits  *ratelimit.Metrics
	bus     *natsbus.Bus
	server  *httpserver.Server
	// waiting is what the node waits for during start-up; nil once it is ready.
	waiting atomic.Pointer[string]
}

// Run starts a node: first the engines, then build, which makes the service and ends by calling Serve. It returns when ctx ends, or
// when the node can no longer serve, after everything has been stopped.
func Run(ctx context.Context, name string, cfg Config, logs io.Writer, build func(context.Context, *Node) error) error {
	log, err := logging.New(logs, cfg.LogLevel, name)
	if err != nil {
		return err
	}
	limitMemory(log)
	n := &Node{Name: name, Log: log, Registry: metrics.NewRegistry(), Stack: lifecycle.NewStack(log), cfg: cfg}
	n.engines, n.limits = metrics.NewEngines(n.Registry), ratelimit.NewMetrics(n.Registry)
	n.Bounds = admission.NewMetrics(n.Registry)
	n.Files = livefile.NewReporter(log, n.Registry)
	failed := make(chan error, 1)
	err = n.start(ctx, build)
	if err == nil {
		go func() { failed <- n.server.Serve() }()
		n.waiting.Store(nil)
		log.Info("listening", "address", n.server.Address(), "admin", n.server.AdminAddress(), "node", n.ID)
		select {
		case err = <-failed:
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		log.Info("stopping")
		err = nil
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.ShutdownTimeout)
	defer cancel()
	return errors.Join(err, n.Stack.Stop(stopping))
}

// limitMemory sets a soft limit below the container's, so that the garbage collector runs more often before the container is
// killed.
func limitMemory(log *slog.Logger) {
	if _, set := os.LookupEnv("GOMEMLIMIT"); set {
		return
	}
	_, err := memlimit.Set(memlimit.WithRatio(memoryRatio), memlimit.WithProvider(memlimit.FromCgroup))
	if err != nil {
		log.Debug("no memory limit of a container", "reason", err.Error())
	}
}

func (n *Node) start(ctx context.Context, build func(context.Context, *Node) error) error {
	for _, step := range []func(context.Context) error{n.openAdmin, n.openTracing, n.openStore, n.openRedis} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	if err := build(ctx, n); err != nil {
		return err
	}
	if n.server == nil {
		return errors.New("the service has no server")
	}
	return nil
}

// openAdmin opens the admin port first, so that the node reports from the start that it is alive and what it waits for.
func (n *Node) openAdmin(ctx context.Context) error {
	n.await("the start")
	var err error
	n.admin, err = httpserver.NewAdmin(ctx, n.cfg.HTTP, n.Registry, []httpserver.Check{{Name: "start", Ready: n.ready}})
	if err != nil {
		return err
	}
	n.Stack.Push("admin", func(context.Context) error { return n.admin.Close() })
	go func() { _ = n.admin.Serve() }() // until it is closed; the server reports an earlier end
	host, _ := os.Hostname()
	_, port, _ := net.SplitHostPort(n.admin.Address())
	n.ID = n.Name + "-" + host + "-" + port
	return nil
}

// openTracing runs before everything that makes spans, and so is stopped after it.
func (n *Node) openTracing(ctx context.Context) error {
	spans, err := otlp.New(ctx, n.cfg.Tracing, otlp.Options{
		Service: n.Name, Version: metrics.Version(), Instance: n.ID, Log: n.Log, Registerer: n.Registry,
	})
	if err != nil {
		return err
	}
	n.Tracer = spans.Tracer()
	n.Stack.Push("tracing", spans.Stop)
	return nil
}

func (n *Node) await(what string) { n.waiting.Store(&what) }

func (n *Node) ready(context.Context) error {
	if what := n.waiting.Load(); what != nil {
		return fmt.Errorf("waiting for %s", *what)
	}
	return nil
}

// WaitFor calls try, with growing pauses, until it succeeds or ctx ends. Readiness and the log report what it waits for.
func (n *Node) WaitFor(ctx context.Context, what string, try func(context.Context) error) error {
	n.await(what)
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		err := try(attempt)
		cancel()
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		n.Log.Warn("waiting", "for", what, "error", err.Error())
		select {
		case <-time.After(backoff/2 + rand.N(backoff/2)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *Node) openStore(ctx context.Context) error {
	cfg := n.cfg.Mongo.store()
	cfg.Observe, cfg.Files = n.engines.Of("mongodb"), n.Files
	err := n.WaitFor(ctx, "MongoDB", func(ctx context.Context) error {
		var err error
		n.Store, err = mongo.Open(ctx, cfg)
		return err
	})
	if err != nil {
		return err
	}
	n.Stack.Push("store", func(context.Context) error { return n.Store.Close() })
	return n.WaitFor(ctx, "MongoDB", func(ctx context.Context) error {
		_, err := n.Store.Epoch(ctx) // create it now, so that no poll has to write
		return err
	})
}

func (n *Node) openRedis(ctx context.Context) error {
	redisclient.LogTo(n.Log)
	var err error
	if n.Redis, err = redisclient.Open(n.cfg.Redis, n.Files); err != nil {
		return err
	}
	n.Stack.Push("redis", func(context.Context) error { return n.Redis.Close() })
	redisclient.Observe(n.Redis, n.engines.Of("redis"))
	if err := n.WaitFor(ctx, "Redis", func(ctx context.Context) error { return n.Redis.Ping(ctx).Err() }); err != nil {
		return err
	}
	n.Mirror = revocation.New(redislog.New(n.Redis), revocation.WithLogger(n.Log), revocation.WithRegistry(n.Registry, n.cfg.RevocationMaxStaleness))
	n.Stack.Go("revocations", n.Mirror.Run)
	return n.WaitFor(ctx, "the revocations", func(ctx context.Context) error {
		select {
		case <-n.Mirror.Ready():
			return nil
		case <-ctx.Done():
			return errors.New("not read yet")
		}
	})
}

// Guard makes a token checker with the keys of a set.
func (n *Node) Guard(keys token.KeySet, issuer, audience string) (*token.Guard, error) {
	verifier, err := token.NewVerifier(token.VerifierConfig{Keys: keys, Issuer: issuer, Audience: audience})
	if err != nil {
		return nil, err
	}
	return &token.Guard{Verifier: verifier, Revocations: n.Mirror, MaxStaleness: n.cfg.RevocationMaxStaleness}, nil
}

// RemoteGuard makes a token checker with the keys that the auth service publishes. It waits for them.
func (n *Node) RemoteGuard(ctx context.Context, c TokenConfig) (*token.Guard, error) {
	keys := remotekeys.New(c.KeysURL, n.Log, n.Registry)
	if err := n.WaitFor(ctx, "the keys at JWKS_URL", keys.Fetch); err != nil {
		return nil, err
	}
	n.Stack.Go("token keys", keys.Run)
	return n.Guard(keys, c.Issuer, c.Audience)
}

// Bus connects to NATS, with a receiver of events or nil, and announces this node there. It does not wait for the connection:
// without NATS messages are late, but not lost. The receiver also gets the hints that nodes without NATS send over Redis.
func (n *Node) Bus(receiver bus.Receiver, polls nodes.Polls) (*natsbus.Bus, error) {
	address, options, err := n.cfg.NATS.Connection(n.Files)
	if err != nil {
		return nil, err
	}
	n.bus, err = natsbus.Connect(address, natsbus.Options{
		Name: n.ID, Log: n.Log, Registerer: n.Registry, Observe: n.engines.Of("nats", natsbus.Operations()...), Receiver: receiver, NATS: options,
	})
	if err != nil {
		return nil, err
	}
	n.Stack.Push("bus", func(context.Context) error { n.bus.Close(); return nil })
	if !n.bus.Connected() {
		n.Log.Warn("NATS is unavailable: messages are late until it returns")
	}
	if receiver != nil {
		n.Stack.Go("hints", redishints.NewListener(n.Redis, receiver, n.Log, n.Registry).Run)
	}
	stop, err := nodes.Announce(n.bus, n.ID, n.Name, polls)
	if err != nil {
		return nil, err
	}
	n.Stack.Push("node directory", func(context.Context) error { _ = stop(); return nil }) // it ends with the connection
	return n.bus, nil
}

// LocalLimiter makes a limiter for this node only: over n nodes a user, or an address, has n times the quota.
func (n *Node) LocalLimiter(name string, q ratelimit.Quota) ratelimit.Limiter {
	if n.cfg.RateLimit == "off" {
		return n.limits.Measure(name, ratelimit.Off{})
	}
	return n.limits.Measure(name, ratelimit.NewInProcess(q, ratelimit.DefaultMaxKeys))
}

// SharedLimiter makes a limiter for the whole cluster, in Redis.
func (n *Node) SharedLimiter(name string, q ratelimit.Quota) ratelimit.Limiter {
	if n.cfg.RateLimit == "off" {
		return n.limits.Measure(name, ratelimit.Off{})
	}
	return n.limits.Measure(name, redislimit.New(n.Redis, name, q))
}

// Polls is what a service with long-lived connections provides to the public port.
type Polls interface {
	// Open is the number of open ones.
	Open() int64
	// Keeper keeps the connections of waiting polls.
	Keeper() httpserver.ConnKeeper
}

// Serve makes the public port serve the service's routes, once the node has started. polls may be nil.
func (n *Node) Serve(ctx context.Context, routes func(gin.IRouter), polls Polls) error {
	opts := httpserver.Options{
		Address: net.JoinHostPort(n.cfg.Host, strconv.Itoa(n.cfg.Port)), Log: n.Log, Registry: n.Registry, Admin: n.admin, Tracer: n.Tracer, Bounds: n.Bounds,
	}
	if polls != nil {
		opts.Connections, opts.Keeper = polls.Open, polls.Keeper()
	}
	var err error
	if n.server, err = httpserver.New(ctx, n.cfg.HTTP, opts); err != nil {
		return err
	}
	n.Stack.Push("server", n.server.Shutdown)
	routes(n.server.Routes())
	return nil
}

// DrainFirst makes the node unready before anything else is stopped. Call it last.
func (n *Node) DrainFirst() { n.Stack.Push("readiness", n.server.Drain) }
