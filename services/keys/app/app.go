// Package app puts the keys service together.
package app

import (
	"errors"
	"log/slog"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/keys/internal/directory"
	"github.com/sealpost/sealpost/services/keys/internal/httpapi"
)

// Config is what an operator sets of the keys service.
type Config struct {
	KeyRotationsPerHour  int `env:"KEY_ROTATIONS_PER_HOUR" envDefault:"20" desc:"key rotations that one user may ask for in an hour"`
	DirectoryPagesPerMin int `env:"DIRECTORY_PAGES_PER_MINUTE" envDefault:"120" desc:"pages of the key directory that one user may ask for in a minute"`
}

// Validate implements config.Validator.
func (c *Config) Validate() error {
	if c.KeyRotationsPerHour < 1 || c.DirectoryPagesPerMin < 1 {
		return errors.New("KEY_ROTATIONS_PER_HOUR and DIRECTORY_PAGES_PER_MINUTE must be positive")
	}
	return nil
}

// Deps are what the service stands on.
type Deps struct {
	Keys store.Keys
	// ServerKey is the deployment's own public key, PEM.
	ServerKey string
	Tokens    httpserver.TokenChecker
	// Limiter makes a limiter of a quota, for what name says.
	Limiter  func(name string, q ratelimit.Quota) ratelimit.Limiter
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// App is a keys service.
type App struct{ api *httpapi.API }

// New makes the service. It has nothing to be stopped.
func New(cfg Config, d Deps) (*App, error) {
	if d.ServerKey == "" {
		return nil, errors.New("keys: the server key is missing")
	}
	return &App{api: &httpapi.API{
		Directory: &directory.Service{Keys: d.Keys, Now: time.Now}, ServerKey: d.ServerKey, Tokens: d.Tokens,
		ListLimit:   d.Limiter("directory", ratelimit.Quota{Events: cfg.DirectoryPagesPerMin, Period: time.Minute}),
		RotateLimit: d.Limiter("rotate", ratelimit.Quota{Events: cfg.KeyRotationsPerHour, Period: time.Hour}),
	}}, nil
}

// Routes adds the service's routes.
func (a *App) Routes(r gin.IRouter) { a.api.Routes(r) }
