// Package app assembles all four services in one process.
package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/gin-gonic/gin"
	"github.com/gofrs/flock"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/bus/localbus"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/memseq"
	"github.com/sealpost/sealpost/pkg/lifecycle"
	"github.com/sealpost/sealpost/pkg/livefile"
	"github.com/sealpost/sealpost/pkg/logging"
	"github.com/sealpost/sealpost/pkg/metrics"
	"github.com/sealpost/sealpost/pkg/nodes"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store/pebble"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/token/keyfolder"
	"github.com/sealpost/sealpost/pkg/tracing/otlp"
	authapp "github.com/sealpost/sealpost/services/auth/app"
	keysapp "github.com/sealpost/sealpost/services/keys/app"
	messagesapp "github.com/sealpost/sealpost/services/messages/app"
	gatewayapp "github.com/sealpost/sealpost/services/poll-gateway/app"
)

const (
	storeFolder = "store"
	lockFile    = "lock"
	nodeID      = "standalone"
	// sequencerUsers is how many inboxes have counters in memory; the others' counters are read from the store again.
	sequencerUsers = 1 << 20
)

// Run serves until ctx ends, and then stops.
func Run(ctx context.Context, cfg Config, logs io.Writer) error {
	log, err := logging.New(logs, cfg.LogLevel, nodeID)
	if err != nil {
		return err
	}
	a, err := New(ctx, cfg, log)
	if err != nil {
		return err
	}
	return a.run(ctx)
}

// run serves until ctx ends or the store fails, and then stops.
func (a *App) run(ctx context.Context) (err error) {
	failed := make(chan error, 1)
	go func() { failed <- a.Serve() }()
	select {
	case err = <-failed:
	case <-a.store.Failed(): // the next process recovers from the log
		err = a.store.Err()
	case <-ctx.Done():
		a.log.Info("stopping")
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.ShutdownTimeout)
	defer cancel()
	return errors.Join(err, a.Stop(stopping))
}

// NewEpoch begins a new epoch of the log in the data folder, after a restore: clients with cursors of the old epoch are told to
// start over. No server may be running on the folder.
func NewEpoch(ctx context.Context, cfg Config) (epoch string, err error) {
	a := offline(cfg)
	defer func() { err = errors.Join(err, a.stack.Stop(context.WithoutCancel(ctx))) }()
	if err := a.lockDataDir(ctx); err != nil {
		return "", err
	}
	if err := a.openStore(ctx); err != nil {
		return "", err
	}
	return a.store.NewEpoch(ctx)
}

// offline makes an App that works on the data folder without serving.
func offline(cfg Config) *App {
	log := slog.New(slog.DiscardHandler)
	return &App{
		cfg: cfg, log: log, stack: lifecycle.NewStack(log), registry: prometheus.NewRegistry(), engines: metrics.NewEngines(nil),
	}
}

// App is the whole server.
type App struct {
	cfg      Config
	log      *slog.Logger
	stack    *lifecycle.Stack
	registry *prometheus.Registry
	engines  *metrics.Engines
	limits   *ratelimit.Metrics
	bounds   *admission.Metrics
	store    *pebble.Store
	// disk is the store's file system; nil is the operating system's. Tests fill it.
	disk   vfs.FS
	mirror *revocation.Mirror

	signingKeys *keyfolder.Folder
	tokens      *token.Guard
	inbox       inbox.Config
	gateway     *gatewayapp.App
	bus         *localbus.Bus
	server      *httpserver.Server
	// tracer is nil with tracing off.
	tracer trace.Tracer
}

// New opens the data folder, creates what is missing in it, and binds the ports. Serve answers on them.
func New(ctx context.Context, cfg Config, log *slog.Logger) (*App, error) {
	return newOn(ctx, cfg, log, nil)
}

// newOn is New with a file system for the store.
func newOn(ctx context.Context, cfg Config, log *slog.Logger, disk vfs.FS) (*App, error) {
	a := &App{cfg: cfg, log: log, stack: lifecycle.NewStack(log), registry: metrics.NewRegistry(), disk: disk}
	a.engines, a.limits = metrics.NewEngines(a.registry), ratelimit.NewMetrics(a.registry)
	a.bounds = admission.NewMetrics(a.registry)
	for _, step := range []func(context.Context) error{
		a.lockDataDir, a.openTracing, a.openStore, a.followRevocations, a.checkTokens, a.startGateway, a.startServices, a.startControl,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, a.stack.Stop(context.WithoutCancel(ctx)))
		}
	}
	return a, nil
}

// errInUse means that another process has locked the data folder.
var errInUse = errors.New("in use by another process")

// lockDataDir keeps a second process out: it would not see this one's messages.
func (a *App) lockDataDir(context.Context) error {
	if err := os.MkdirAll(a.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("DATA_DIR: %w", err)
	}
	lock := flock.New(a.path(lockFile), flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err != nil {
		return fmt.Errorf("DATA_DIR: %w", err)
	}
	if !locked {
		return fmt.Errorf("DATA_DIR %s is %w", a.cfg.DataDir, errInUse)
	}
	a.stack.Push("lock", func(context.Context) error { return lock.Unlock() })
	return nil
}

// path returns the path of a file in the data folder.
func (a *App) path(file string) string { return filepath.Join(a.cfg.DataDir, file) }

// openTracing runs before everything that makes spans, and so is stopped after it.
func (a *App) openTracing(ctx context.Context) error {
	spans, err := otlp.New(ctx, a.cfg.Tracing, otlp.Options{
		Service: nodeID, Version: metrics.Version(), Instance: nodeID, Log: a.log, Registerer: a.registry,
	})
	if err != nil {
		return err
	}
	a.tracer = spans.Tracer()
	a.stack.Push("tracing", spans.Stop)
	return nil
}

func (a *App) openStore(ctx context.Context) error {
	var err error
	a.store, err = pebble.Open(ctx, a.path(storeFolder), pebble.Options{
		Memory: a.cfg.StoreMemory, Log: a.log, Observe: a.engines.Of("pebble"), Registry: a.registry, FS: a.disk,
	})
	if err != nil {
		return err
	}
	a.stack.Push("store", func(context.Context) error { return a.store.Close() })
	if _, err := a.store.Epoch(ctx); err != nil { // create it now, so that no poll has to write
		return err
	}
	a.stack.Go("purge", a.purge)
	return nil
}

// purge regularly removes expired messages.
func (a *App) purge(ctx context.Context) {
	tick := time.NewTicker(a.cfg.PurgeEvery)
	defer tick.Stop()
	for {
		if _, err := a.store.Purge(ctx, time.Now()); err != nil && ctx.Err() == nil {
			a.log.Warn("purge failed", "error", err.Error())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (a *App) followRevocations(ctx context.Context) error {
	a.mirror = revocation.New(a.store.Revocations(), revocation.WithLogger(a.log), revocation.WithRegistry(a.registry, a.cfg.RevocationMaxStaleness))
	a.stack.Go("revocations", a.mirror.Run)
	select {
	case <-a.mirror.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checkTokens reads the signing keys, creating the first if necessary, and makes the token checker.
func (a *App) checkTokens(context.Context) error {
	dir, err := signingKeys(a.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("signing keys: %w", err)
	}
	a.signingKeys, err = keyfolder.Open(keyfolder.Config{Dir: dir, Reporter: livefile.NewReporter(a.log, a.registry), Log: a.log})
	if err != nil {
		return fmt.Errorf("signing keys: %w", err)
	}
	a.stack.Go("signing keys", a.signingKeys.Run)
	verifier, err := token.NewVerifier(token.VerifierConfig{
		Keys: a.signingKeys, Issuer: a.cfg.Auth.TokenIssuer, Audience: a.cfg.Auth.TokenAudience,
	})
	a.tokens = &token.Guard{Verifier: verifier, Revocations: a.mirror, MaxStaleness: a.cfg.RevocationMaxStaleness}
	return err
}

// startGateway starts the bus and the gateway that receives from it.
func (a *App) startGateway(context.Context) error {
	a.inbox = inbox.Config{
		Store: a.store, Sequencer: memseq.New(sequencerUsers), Metrics: inbox.NewMetrics(a.registry),
		Retention: a.cfg.Messages.Retention, AloneSince: time.Now(),
	}
	var err error
	a.gateway, err = gatewayapp.New(a.cfg.Gateway, gatewayapp.Deps{
		Inbox: inbox.NewReader(a.inbox), Sessions: a.store, Meta: a.store, Tokens: a.tokens, Revocations: a.mirror,
		Limiter: a.limiter, Bounds: a.bounds, Alone: true, Log: a.log, Registry: a.registry, Tracer: a.tracer, IdleTimeout: a.cfg.HTTP.IdleTimeout,
	})
	if err != nil {
		return err
	}
	a.bus = localbus.New(a.gateway.Receiver(), a.registry)
	a.gateway.Attach(a.bus)
	a.stack.Push("gateway", func(context.Context) error { a.gateway.Stop(); return nil })
	stop, err := nodes.Announce(a.bus, nodeID, nodeID, a.gateway)
	a.stack.Push("node directory", func(context.Context) error { return stop() })
	return err
}

// startServices binds the ports and adds all routes.
func (a *App) startServices(ctx context.Context) error {
	serverKey, err := serverPublicKey(a.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("server key: %w", err)
	}
	passwords, err := a.cfg.Passwords.Open(a.registry)
	if err != nil {
		return err
	}
	auth, err := authapp.New(a.cfg.Auth, authapp.Deps{
		Accounts: a.store, Sessions: a.store, Revocations: a.mirror, Tokens: a.tokens, SigningKeys: a.signingKeys, Passwords: passwords,
		Limiter: a.limiter, LocalLimiter: a.limiter, Log: a.log, Registry: a.registry,
	})
	if err != nil {
		return err
	}
	messages := messagesapp.New(a.cfg.Messages, messagesapp.Deps{
		Inbox: a.inbox, Directory: a.store, HearsOfKeys: func() bool { return true }, // keys, in this process, reports every rotation
		Bus: a.bus, Tokens: a.tokens, Limiter: a.limiter, Bounds: a.bounds, Log: a.log, Registry: a.registry,
	})
	a.stack.Push("sends", func(context.Context) error { messages.Stop(); return nil })
	keys, err := keysapp.New(a.cfg.Keys, keysapp.Deps{
		Keys: a.store, ServerKey: serverKey, Tokens: a.tokens, Passwords: passwords, Limiter: a.limiter, Bounds: a.bounds, Log: a.log, Registry: a.registry, Changed: messages.KeyChanged,
	})
	if err != nil {
		return err
	}
	a.server, err = httpserver.New(ctx, a.cfg.HTTP, httpserver.Options{
		Address: net.JoinHostPort(a.cfg.Host, strconv.Itoa(a.cfg.Port)), Log: a.log, Registry: a.registry, Bounds: a.bounds, Tracer: a.tracer,
		Checks: []httpserver.Check{{Name: "store", Ready: a.store.Ping}}, Connections: a.gateway.Open, Keeper: a.gateway.Keeper(),
	})
	if err != nil {
		return err
	}
	a.stack.Push("server", a.server.Shutdown)
	a.stack.Push("polls", a.gateway.Drain)
	a.stack.Push("readiness", a.server.Drain)
	for _, service := range []interface{ Routes(r gin.IRouter) }{auth, keys, messages, a.gateway} {
		service.Routes(a.server.Routes())
	}
	return nil
}

// Serve answers requests until Stop.
func (a *App) Serve() error {
	a.log.Info("listening", "address", a.server.Address(), "admin", a.server.AdminAddress(), "data", a.cfg.DataDir)
	return a.server.Serve()
}

// Stop finishes the requests under way and closes everything, last in first out.
func (a *App) Stop(ctx context.Context) error { return a.stack.Stop(ctx) }

// URL is the server's address.
func (a *App) URL() string { return "http://" + a.server.Address() }

// AdminURL is the admin port's address.
func (a *App) AdminURL() string { return "http://" + a.server.AdminAddress() }

// limiter makes a rate limit, or one without a limit if they are off.
func (a *App) limiter(name string, q ratelimit.Quota) ratelimit.Limiter {
	if a.cfg.RateLimit == "off" {
		return a.limits.Measure(name, ratelimit.Off{})
	}
	return a.limits.Measure(name, ratelimit.NewInProcess(q, ratelimit.DefaultMaxKeys))
}
