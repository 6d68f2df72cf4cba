// Package app assembles the messages service.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/nodes"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/services/messages/internal/httpapi"
	"github.com/sealpost/sealpost/services/messages/internal/messaging"
)

// Config is the operator's configuration of the messages service.
type Config struct {
	MaxMessageBytes config.Bytes  `env:"MAX_MESSAGE_BYTES" envDefault:"5MiB" desc:"largest body of a send"`
	Retention       time.Duration `env:"RETENTION" envDefault:"2160h" desc:"how long messages are kept; the longest and the default lifetime of one"`
	SendQueue       int           `env:"SEND_QUEUE" envDefault:"4096" desc:"sends that may wait for a group commit; above it 503"`
	MaxSendingBytes config.Bytes  `env:"MAX_SENDING_BYTES" envDefault:"256MiB" desc:"memory for the bodies of all sends under way, an eighth of it for one user's; above it who holds most gives way, or 503. A body counts three times"`
	MaxPages        int64         `env:"MAX_HISTORY_PAGES" envDefault:"64" desc:"pages of history that are read and written at once, an eighth of them one user's; above it slow readers give way, or 503. Each may take some 10 MiB"`
	SendsPerMinute  int           `env:"SENDS_PER_MINUTE" envDefault:"1200" desc:"sends that one user may make in a minute"`
	// RecipientsPerMinute lets 30 sends to as many as possible through.
	RecipientsPerMinute int `env:"RECIPIENTS_PER_MINUTE" envDefault:"30720" desc:"recipients that one user may address in a minute, in sends to more than 16; SENDS_PER_MINUTE bounds the others"`
	ReadsPerMinute      int `env:"READS_PER_MINUTE" envDefault:"3000" desc:"history pages, single messages, receipts and status that one user may ask for in a minute"`
}

// Validate implements config.Validator.
func (c *Config) Validate() error {
	var faults []error
	if c.MaxMessageBytes < 1024 || c.MaxMessageBytes > 64<<20 {
		faults = append(faults, errors.New("MAX_MESSAGE_BYTES must be from 1KiB to 64MiB"))
	}
	if c.Retention < time.Second {
		faults = append(faults, errors.New("RETENTION must be at least 1s"))
	}
	if c.SendQueue < 1 {
		faults = append(faults, errors.New("SEND_QUEUE must be positive"))
	}
	if c.MaxSendingBytes < httpserver.BodyCopies*c.MaxMessageBytes {
		faults = append(faults, fmt.Errorf("MAX_SENDING_BYTES must be at least %d times MAX_MESSAGE_BYTES", httpserver.BodyCopies))
	}
	if c.MaxPages < 1 {
		faults = append(faults, errors.New("MAX_HISTORY_PAGES must be positive"))
	}
	if c.SendsPerMinute < 1 || c.ReadsPerMinute < 1 {
		faults = append(faults, errors.New("SENDS_PER_MINUTE and READS_PER_MINUTE must be positive"))
	}
	if c.RecipientsPerMinute < api.MaxRecipients {
		faults = append(faults, fmt.Errorf("RECIPIENTS_PER_MINUTE must be at least %d: a send may have so many recipients", api.MaxRecipients))
	}
	return errors.Join(faults...)
}

// Deps are the service's dependencies.
type Deps struct {
	Inbox     inbox.Config
	Directory messaging.Keys
	// HearsOfKeys reports whether KeyChanged would currently be called if a user's key was replaced. While it is false, key
	// versions are read for each send. Nil means never.
	HearsOfKeys func() bool
	Bus         interface {
		bus.Publisher
		bus.Directory
	}
	// Hints tell gateways to read the store when the bus may have lost something; nil for a bus in the same process.
	Hints  bus.Hinter
	Tokens httpserver.TokenChecker
	// Limiter makes a limiter with a quota, for the purpose that name says.
	Limiter func(name string, q ratelimit.Quota) ratelimit.Limiter
	// Bounds makes what requests share; nil measures nothing.
	Bounds *admission.Metrics
	// Expired erases expired messages in the background; nil if something else does that.
	Expired  messaging.Expired
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// App is a messages service.
type App struct {
	api       *httpapi.API
	writer    *inbox.Writer
	directory *messaging.SharedDirectory
	announcer *messaging.Announcer
	stopErase context.CancelFunc
	erasing   sync.WaitGroup
}

// New makes the service and starts its group commits and background tasks. Call Stop when done.
func New(cfg Config, d Deps) *App {
	d.Inbox.Retention, d.Inbox.QueueLength = cfg.Retention, cfg.SendQueue
	writer := inbox.NewWriter(d.Inbox)
	directory := messaging.NewSharedDirectory(messaging.DirectoryConfig{Keys: d.Directory, Queue: cfg.SendQueue, Trusting: d.HearsOfKeys})
	metrics := messaging.NewMetrics(d.Registry)
	announcer := messaging.NewAnnouncer(messaging.AnnouncerConfig{
		Bus: d.Bus, Hints: d.Hints, Queue: cfg.SendQueue, Log: d.Log, Metrics: metrics,
	})
	a := &App{
		writer: writer, directory: directory, announcer: announcer,
		api: &httpapi.API{
			Messages: &messaging.Service{
				Inbox: writer, Directory: directory, Announcer: announcer, Metrics: metrics, Retention: cfg.Retention,
				Recipients: d.Limiter("recipients", ratelimit.Quota{Events: cfg.RecipientsPerMinute, Period: time.Minute}),
			},
			Inbox: inbox.NewReader(d.Inbox), Nodes: nodes.NewDirectory(d.Bus), Tokens: d.Tokens,
			SendLimit:    d.Limiter("send", ratelimit.Quota{Events: cfg.SendsPerMinute, Period: time.Minute}),
			ReadLimit:    d.Limiter("read", ratelimit.Quota{Events: cfg.ReadsPerMinute, Period: time.Minute}),
			MaxBodyBytes: int64(cfg.MaxMessageBytes),
			Sending:      d.Bounds.Pool("sends", httpserver.BodyBound(int64(cfg.MaxSendingBytes), int64(cfg.MaxMessageBytes))),
			Pages:        d.Bounds.Pool("history", httpserver.RequestBound(cfg.MaxPages)),
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	a.stopErase = cancel
	if d.Expired != nil {
		eraser := &messaging.Eraser{Store: d.Expired, Now: time.Now, Log: d.Log, Metrics: metrics}
		a.erasing.Go(func() { eraser.Run(ctx) })
	}
	return a
}

// Routes adds the service's routes.
func (a *App) Routes(r gin.IRouter) { a.api.Routes(r) }

// KeyChanged must be called when the key of a user, given by the canonical name, was replaced.
func (a *App) KeyChanged(user string) { a.directory.KeyChanged(user) }

// KeysMissed must be called when keys may have been replaced without a call of KeyChanged.
func (a *App) KeysMissed() { a.directory.ForgetKeys() }

// Stop ends the group commits and the background tasks. No send may be under way.
func (a *App) Stop() {
	a.stopErase()
	a.erasing.Wait()
	a.directory.Stop()
	a.writer.Stop()
	a.announcer.Stop()
}
