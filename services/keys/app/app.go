// Package app assembles the keys service.
package app

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/services/keys/internal/directory"
	"github.com/sealpost/sealpost/services/keys/internal/httpapi"
)

// leastUnread is more than one page takes.
const leastUnread = 4 << 20

// minServerKeyBits is the minimum of the HTTP contract: clients expect RSA-4096.
const minServerKeyBits = 4096

// Config is the operator's configuration of the keys service.
type Config struct {
	RotationsPerHour        int          `env:"KEY_ROTATIONS_PER_HOUR" envDefault:"20" desc:"times that one user may replace the public key in an hour; every version is kept"`
	DirectoryPagesPerMinute int          `env:"DIRECTORY_PAGES_PER_MINUTE" envDefault:"120" desc:"pages of the key directory that one user may ask for in a minute"`
	LookupsPerMinute        int          `env:"KEY_LOOKUPS_PER_MINUTE" envDefault:"6000" desc:"users' keys, and pages of their histories, that one address may ask for in a minute; an IPv6 address counts as its /64"`
	MaxUnread               config.Bytes `env:"MAX_UNREAD_KEYS" envDefault:"64MiB" desc:"bytes of pages of the key directory and of key histories that clients are reading, all together, an eighth of them one user's; above it who leaves most unread gives way, or 503"`
	NeedsPassword           bool         `env:"KEY_CHANGE_NEEDS_PASSWORD" envDefault:"false" desc:"whether everybody has to give the password to replace the public key, and not only those who have given it once; clients from before currentPassword cannot"`
}

// Validate implements config.Validator.
func (c *Config) Validate() error {
	if c.RotationsPerHour < 1 || c.DirectoryPagesPerMinute < 1 || c.LookupsPerMinute < 1 {
		return errors.New("KEY_ROTATIONS_PER_HOUR, DIRECTORY_PAGES_PER_MINUTE and KEY_LOOKUPS_PER_MINUTE must be positive")
	}
	if c.MaxUnread < leastUnread {
		return errors.New("MAX_UNREAD_KEYS must be at least 4MiB")
	}
	return nil
}

// Keys is the part of the store that the service needs.
type Keys = directory.Store

// Passwords compares passwords. See password.Hasher.
type Passwords = directory.Passwords

// Deps are the service's dependencies.
type Deps struct {
	Keys Keys
	// ServerKey is the deployment's public key: one PEM block PUBLIC KEY, RSA, at least 4096 bits; the same on every node.
	ServerKey string
	Tokens    httpserver.TokenChecker
	// Passwords compares passwords.
	Passwords Passwords
	// Limiter makes a limiter with a quota, for the purpose that name says.
	Limiter func(name string, q ratelimit.Quota) ratelimit.Limiter
	// Changed is called with the canonical name of each user whose key was replaced; it may be nil.
	Changed func(user string)
	// Bounds makes what requests share; nil measures nothing.
	Bounds   *admission.Metrics
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// App is a keys service.
type App struct{ api *httpapi.API }

// New makes the service, or reports what is wrong with its configuration or the server's key. It needs no Stop.
func New(cfg Config, d Deps) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	serverKey, err := publickey.Parse(d.ServerKey)
	if err != nil {
		return nil, fmt.Errorf("server key: %w", err)
	}
	if serverKey.Bits < minServerKeyBits {
		return nil, fmt.Errorf("server key: it has %d bits, and must have at least %d", serverKey.Bits, minServerKeyBits)
	}
	d.Log.Info("server key", "fingerprint", serverKey.Fingerprint)
	return &App{api: &httpapi.API{
		Directory: &directory.Service{
			Store: d.Keys, Passwords: d.Passwords, NeedsPassword: cfg.NeedsPassword, Now: time.Now,
			Metrics: directory.NewMetrics(d.Registry), Changed: d.Changed,
		},
		ServerKey: serverKey.PEM, Tokens: d.Tokens,
		LookupLimit: d.Limiter("lookup", ratelimit.Quota{Events: cfg.LookupsPerMinute, Period: time.Minute}),
		ListLimit:   d.Limiter("directory", ratelimit.Quota{Events: cfg.DirectoryPagesPerMinute, Period: time.Minute}),
		RotateLimit: d.Limiter("rotate", ratelimit.Quota{Events: cfg.RotationsPerHour, Period: time.Hour}),
		Unread:      d.Bounds.Pool("key_pages", httpserver.AnswerBound(int64(cfg.MaxUnread))),
	}}, nil
}

// Routes adds the service's routes.
func (a *App) Routes(r gin.IRouter) { a.api.Routes(r) }
