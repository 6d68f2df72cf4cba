package app

import (
	"context"
	"io"
	"time"

	"github.com/sealpost/sealpost/pkg/bus/redishints"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/redisseq"
	"github.com/sealpost/sealpost/pkg/service"
)

// Process is the configuration of the messages service that runs as a separate process.
type Process struct {
	Service  service.Config
	Messages Config
	Tokens   service.TokenConfig

	// Failpoint is called after each step of a send, and Now is the clock of entries. Only tests set them.
	Failpoint inbox.Failpoint
	Now       func() time.Time
}

// Run runs the service until ctx ends.
func Run(ctx context.Context, p Process, logs io.Writer) error {
	return service.Run(ctx, "messages", p.Service, logs, func(ctx context.Context, n *service.Node) error {
		tokens, err := n.RemoteGuard(ctx, p.Tokens)
		if err != nil {
			return err
		}
		bus, err := n.Bus(nil, nil)
		if err != nil {
			return err
		}
		a := New(p.Messages, Deps{
			Inbox: inbox.Config{
				Store: n.Store, Counters: redisseq.New(n.Redis, redisseq.Config{Retention: p.Messages.Retention, Cluster: n.Redis.Cluster()}),
				Metrics: inbox.NewMetrics(n.Registry), Failpoint: p.Failpoint, Now: p.Now,
			},
			Directory: n.Store, HearsOfKeys: bus.Connected, Expired: n.Store, Bus: bus, Hints: redishints.NewHinter(n.Redis), Tokens: tokens,
			Limiter: n.LocalLimiter, Bounds: n.Bounds, Log: n.Log, Registry: n.Registry,
		})
		if err := bus.FollowKeys(a); err != nil {
			a.Stop()
			return err
		}
		n.Stack.Push("sends", func(context.Context) error { a.Stop(); return nil })
		if err := n.Serve(ctx, a.Routes, nil); err != nil {
			return err
		}
		n.DrainFirst()
		return nil
	})
}
