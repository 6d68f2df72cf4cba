package app

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/sealpost/sealpost/pkg/heapfloor"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/service"
)

// Process is the configuration of the poll gateway as a separate process.
type Process struct {
	Service   service.Config
	Gateway   Config
	Tokens    service.TokenConfig
	Retention RetentionConfig

	// Now is the clock of entries; only tests set it.
	Now func() time.Time
}

// RetentionConfig is what the gateway needs to know of the retention.
type RetentionConfig struct {
	Retention time.Duration `env:"RETENTION" envDefault:"2160h" desc:"how long messages are kept; the same as at the messages service"`
}

// Validate implements config.Validator.
func (c *RetentionConfig) Validate() error {
	if c.Retention < time.Second {
		return errors.New("RETENTION must be at least 1s")
	}
	return nil
}

// gcPercent is how much a large heap grows before a garbage collection, unless GOGC is set. It is less than Go's default of 100: most of
// this heap are waiting polls, and garbage would double it.
const gcPercent = 40

func tuneGC() { heapfloor.Set(gcPercent) }

// Run runs the gateway until ctx ends.
func Run(ctx context.Context, p Process, logs io.Writer) error {
	tuneGC()
	return service.Run(ctx, "poll-gateway", p.Service, logs, func(ctx context.Context, n *service.Node) error {
		tokens, err := n.RemoteGuard(ctx, p.Tokens)
		if err != nil {
			return err
		}
		a, err := New(p.Gateway, Deps{
			Inbox: inbox.NewReader(inbox.Config{
				Store: n.Store, Metrics: inbox.NewMetrics(n.Registry), Retention: p.Retention.Retention, Now: p.Now,
			}),
			Sessions: n.Store, Meta: n.Store, Tokens: tokens, Revocations: n.Mirror,
			Limiter: n.LocalLimiter, Bounds: n.Bounds, Log: n.Log, Registry: n.Registry, Tracer: n.Tracer, IdleTimeout: p.Service.HTTP.IdleTimeout,
		})
		if err != nil {
			return err
		}
		bus, err := n.Bus(a.Receiver(), a)
		if err != nil {
			a.Stop()
			return err
		}
		a.Attach(bus)
		n.Stack.Push("gateway", func(context.Context) error { a.Stop(); return nil })
		if err := n.Serve(ctx, a.Routes, a); err != nil {
			return err
		}
		n.Stack.Push("polls", a.Drain)
		n.DrainFirst()
		return nil
	})
}
