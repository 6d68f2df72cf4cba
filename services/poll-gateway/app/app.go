// Package app assembles the poll gateway.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/httpapi"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/parking"
)

// Config is the operator's configuration of the gateway.
type Config struct {
	MaxPolls        int64         `env:"MAX_POLLS" envDefault:"10000" desc:"polls and streams that may be open on a node; above it one of who has most gives way, or 503"`
	MaxPollsPerUser int           `env:"MAX_POLLS_PER_USER" envDefault:"64" desc:"polls and streams that one user may have open on a node; above it 429"`
	PollWait        time.Duration `env:"POLL_WAIT" envDefault:"25s" desc:"how long a poll waits that does not say; shorter than the load balancer's read timeout"`
	DrainTime       time.Duration `env:"DRAIN_TIME" envDefault:"5s" desc:"time over which the waiting polls are answered when the process is to stop"`
	RingEvents      int           `env:"RING_EVENTS" envDefault:"1024" desc:"recent messages kept in memory for each user with an open poll, for a minute or two"`
	RingBytes       config.Bytes  `env:"RING_BYTES" envDefault:"1MiB" desc:"most memory for the recent messages of one user"`
	AllRingBytes    config.Bytes  `env:"ALL_RING_BYTES" envDefault:"64MiB" desc:"most memory for the recent messages of all users together"`
	VerifyEvery     time.Duration `env:"VERIFY_INTERVAL" envDefault:"60s" desc:"how often the inbox of a waiting user is checked against the store, in case an event was lost"`
	PollsPerMinute  int           `env:"POLLS_PER_MINUTE" envDefault:"3000" desc:"polls and streams that one user may begin in a minute"`
	MaxUnread       config.Bytes  `env:"MAX_UNREAD" envDefault:"128MiB" desc:"bytes of answers that slow clients leave unread, all together: once for those who were answered at once, and once for those who waited; above it who leaves most unread gives way, or 503. One user has an eighth of the first"`
	StoreReads      int           `env:"STORE_READS" envDefault:"32" desc:"reads of the message store that a gateway has under way at once. Each may take some 18 MiB"`
	ParkPolls       bool          `env:"PARK_POLLS" envDefault:"true" desc:"polls and streams that wait give their goroutine up: only their connection is kept, where the system can. Without, each costs a goroutine and its buffers"`
}

// Validate implements config.Validator.
func (c *Config) Validate() error {
	var faults []error
	positive := func(name string, ok bool) {
		if !ok {
			faults = append(faults, errors.New(name+" must be positive"))
		}
	}
	positive("MAX_POLLS", c.MaxPolls > 0)
	positive("MAX_POLLS_PER_USER", c.MaxPollsPerUser > 0)
	positive("POLLS_PER_MINUTE", c.PollsPerMinute > 0)
	positive("RING_EVENTS", c.RingEvents > 0)
	positive("RING_BYTES", c.RingBytes > 0)
	positive("ALL_RING_BYTES", c.AllRingBytes > 0)
	positive("VERIFY_INTERVAL", c.VerifyEvery > 0)
	positive("STORE_READS", c.StoreReads > 0)
	if c.MaxUnread < leastUnread {
		faults = append(faults, errors.New("MAX_UNREAD must be at least 16MiB"))
	}
	if c.PollWait <= 0 || c.PollWait > api.MaxPollWaitSeconds*time.Second {
		faults = append(faults, errors.New("POLL_WAIT must be more than 0 and at most 60s"))
	}
	if c.DrainTime < 0 {
		faults = append(faults, errors.New("DRAIN_TIME must not be negative"))
	}
	return errors.Join(faults...)
}

// The gateway's ports to the store.
type (
	// Sessions keeps the session cursors.
	Sessions = httpapi.Sessions
	// Inbox is the inbox log.
	Inbox = gateway.Inbox
)

// Revocations knows which tokens are revoked.
type Revocations interface {
	Revoked(id token.Identity) bool
	// Watch calls f for each new revocation until stop is called.
	Watch(f func(revocation.Record)) (stop func())
}

// Deps are the dependencies of the gateway.
type Deps struct {
	Inbox       Inbox
	Sessions    Sessions
	Meta        store.Meta
	Tokens      httpserver.TokenChecker
	Revocations Revocations
	// Limiter makes a limiter with a quota; name says for what.
	Limiter func(name string, q ratelimit.Quota) ratelimit.Limiter
	// Bounds makes what requests share; nil measures nothing.
	Bounds *admission.Metrics
	// Alone means that this is the only gateway.
	Alone    bool
	Log      *slog.Logger
	Registry prometheus.Registerer
	// Tracer makes the spans of deliveries; nil makes none.
	Tracer trace.Tracer
	// IdleTimeout is how long the HTTP server keeps an idle connection. The Lot keeps the connections of answered polls as long.
	IdleTimeout time.Duration
}

// App is a poll gateway.
type App struct {
	cfg     Config
	gateway *gateway.Gateway
	api     *httpapi.API
	// lot is nil if polls and streams wait in their handlers.
	lot     *parking.Lot
	unwatch func()
}

// awayEvery is how often the inboxes of waiting users are read while the bus is disconnected.
const awayEvery = 1500 * time.Millisecond

// linger is how long a user stays warm without a poll: clients poll again at once, or after a pause.
const linger = time.Minute

const (
	// writeTimeout limits how long a client may take nothing of the answer to a poll that has waited, or of a held stream.
	writeTimeout = 30 * time.Second
	// leastWait is the shortest wait for which a poll's connection is taken over.
	leastWait = time.Second
	// parkAfter is how long a poll waits in its handler before that. Users with ten messages a second and more are answered within it.
	// maxUnparked limits such polls so that they take little of the process's memory.
	parkAfter   = 100 * time.Millisecond
	maxUnparked = 256
	// leastRate is the rate, in bytes a second, at which a client must take such an answer when others need the room.
	leastRate = 16 << 10
	// leastUnread is more than one answer needs.
	leastUnread = 16 << 20
)

// New makes the gateway. It needs a bus before it serves: see Receiver and Attach. The HTTP server in front of it should use its Keeper;
// without it, each waiting poll costs a goroutine and its buffers.
func New(cfg Config, d Deps) (*App, error) {
	lot, err := newLot(cfg, d)
	if err != nil {
		return nil, err
	}
	g := gateway.New(gateway.Config{
		MaxPolls: cfg.MaxPolls, MaxPollsPerUser: cfg.MaxPollsPerUser, Bounds: d.Bounds,
		RingEvents: cfg.RingEvents, RingBytes: int(cfg.RingBytes), AllRingBytes: int64(cfg.AllRingBytes),
		VerifyEvery: cfg.VerifyEvery, AwayEvery: awayEvery, Linger: linger, StoreReads: cfg.StoreReads,
		Revoked: d.Revocations.Revoked, Epochs: gateway.NewEpochs(d.Meta.Epoch),
	}, d.Inbox, d.Log, gateway.NewMetrics(d.Registry))
	return &App{
		cfg: cfg, gateway: g, lot: lot, unwatch: d.Revocations.Watch(g.Revoked),
		api: &httpapi.API{
			Gateway: g, Sessions: d.Sessions,
			Tokens: d.Tokens, PollWait: cfg.PollWait, Alone: d.Alone, Tracer: d.Tracer, Log: d.Log,
			Limiter: d.Limiter("poll", ratelimit.Quota{Events: cfg.PollsPerMinute, Period: time.Minute}),
			Lot:     lot, LeastWait: leastWait, ParkAfter: parkAfter, MaxUnparked: maxUnparked, Unread: httpapi.NewUnread(d.Bounds.Pool("answers", httpserver.AnswerBound(int64(cfg.MaxUnread)))),
		},
	}, nil
}

// newLot makes the Lot; nil if polls are to wait in their handlers.
func newLot(cfg Config, d Deps) (*parking.Lot, error) {
	if !cfg.ParkPolls {
		return nil, nil
	}
	lot, err := parking.New(parking.Config{
		IdleTimeout: d.IdleTimeout, WriteTimeout: writeTimeout, Unread: d.Bounds.Pool("parked_answers", admission.Config{Size: int64(cfg.MaxUnread), LeastRate: leastRate}),
	}, parking.NewMetrics(d.Registry))
	if err != nil {
		return nil, fmt.Errorf("parking: %w", err)
	}
	return lot, nil
}

// Keeper returns the Lot for the HTTP server that serves the routes; nil if polls wait in their handlers.
func (a *App) Keeper() httpserver.ConnKeeper {
	if a.lot == nil {
		return nil // not a non-nil Keeper with a nil Lot
	}
	return a.lot
}

// Receiver returns the receiver of the bus's events.
func (a *App) Receiver() bus.Receiver { return a.gateway }

// Attach sets the bus that events come from.
func (a *App) Attach(b bus.Subscriber) { a.gateway.Attach(b) }

// Routes adds the gateway's routes.
func (a *App) Routes(r gin.IRouter) { a.api.Routes(r) }

// Open returns how many polls and streams are open.
func (a *App) Open() int64 { return a.gateway.Open() }

// Capacity returns how many may be open.
func (a *App) Capacity() int64 { return a.gateway.Capacity() }

// Drain answers the waiting polls, spread over the drain time, refuses new ones, and waits until the clients have their answers.
func (a *App) Drain(ctx context.Context) error {
	err := a.gateway.Drain(ctx, a.cfg.DrainTime)
	if a.lot == nil {
		return err
	}
	return errors.Join(err, a.lot.Drain(ctx))
}

// Stop ends all work.
func (a *App) Stop() {
	a.unwatch()
	a.gateway.Stop()
	a.api.Flush()
	if a.lot != nil {
		a.lot.Stop()
	}
	a.api.Stop()
}

// The production types fit the gateway's ports.
var (
	_ Inbox    = (*inbox.Reader)(nil)
	_ Sessions = (store.Sessions)(nil)
)
