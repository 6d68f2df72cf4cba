// Package app assembles the auth service.
package app

import (
	"log/slog"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/auth/internal/accounts"
	"github.com/sealpost/sealpost/services/auth/internal/httpapi"
)

// What the service needs besides the accounts.
type (
	// Sessions keeps delivery cursors.
	Sessions = accounts.Sessions
	// Revocations refuses tokens.
	Revocations = accounts.Revocations
)

// Deps are the service's dependencies.
type Deps struct {
	Accounts    store.Accounts
	Sessions    Sessions
	Revocations Revocations
	Tokens      httpserver.TokenChecker
	// Passwords hashes and compares passwords.
	Passwords *password.Hasher
	// SigningKeys sign tokens; their public halves are published.
	SigningKeys token.SigningKeys
	// Limiter makes a limiter with a quota, for the purpose that name says.
	Limiter func(name string, q ratelimit.Quota) ratelimit.Limiter
	// LocalLimiter makes one that asks nobody else: for requests that cost less than a round trip.
	LocalLimiter func(name string, q ratelimit.Quota) ratelimit.Limiter
	Log          *slog.Logger
	Registry     prometheus.Registerer
}

// App is an auth service.
type App struct{ api *httpapi.API }

// New makes the service, or reports what is wrong with its configuration or its key. It needs no Stop.
func New(cfg Config, d Deps) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	signer, err := token.NewSigner(token.SignerConfig{
		Keys: d.SigningKeys, Issuer: cfg.TokenIssuer, Audience: cfg.TokenAudience, Lifetime: cfg.TokenLifetime,
	})
	if err != nil {
		return nil, err
	}
	limits := func(name string) httpapi.Limits {
		return httpapi.Limits{
			PerName:    d.Limiter(name, ratelimit.Quota{Events: cfg.LoginAttempts, Period: cfg.LoginPeriod}),
			PerAddress: d.Limiter(name+"-address", ratelimit.Quota{Events: cfg.LoginAttemptsPerAddress, Period: cfg.LoginPeriod}),
		}
	}
	return &App{api: &httpapi.API{
		Accounts: &accounts.Service{
			Accounts: d.Accounts, Sessions: d.Sessions, Revocations: d.Revocations, Passwords: d.Passwords, Tokens: signer,
			Guesses:          d.Limiter("login-failures", ratelimit.Quota{Events: cfg.LoginFailuresPerAccount, Period: time.Hour}),
			Addresses:        accounts.Addresses{Keys: d.SigningKeys},
			MinPasswordBytes: cfg.MinPasswordBytes, Reserved: accounts.NewReserved(cfg.ReservedNames), Now: time.Now, Log: d.Log, Metrics: accounts.NewMetrics(d.Registry),
		},
		Tokens: d.Tokens, KeySet: d.SigningKeys.JWKS,
		RegisterLimits: limits("register"), LoginLimits: limits("login"),
		VerifyLimit: d.LocalLimiter("verify", ratelimit.Quota{Events: cfg.VerificationsPerMinute, Period: time.Minute}),
	}}, nil
}

// Routes adds the service's routes.
func (a *App) Routes(r gin.IRouter) { a.api.Routes(r) }

// In production, Revocations is a revocation.Mirror.
var _ Revocations = (*revocation.Mirror)(nil)
