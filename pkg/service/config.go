package service

import (
	"errors"
	"time"

	"github.com/sealpost/sealpost/pkg/bus/natsbus"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/redisclient"
	"github.com/sealpost/sealpost/pkg/store/mongo"
	"github.com/sealpost/sealpost/pkg/tracing/otlp"
)

// Config is the operator's configuration that all services share.
type Config struct {
	Host            string        `env:"HOST" desc:"address to listen on; all by default"`
	Port            int           `env:"PORT" envDefault:"3000" desc:"port that clients connect to; 0 for any free one"`
	LogLevel        string        `env:"LOG_LEVEL" envDefault:"info" desc:"debug, info, warn or error"`
	RateLimit       string        `env:"RATE_LIMIT" envDefault:"on" desc:"off turns all rate limits off, for a load test"`
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"90s" desc:"bound on the whole shutdown; longer than LAME_DUCK, DRAIN_TIME and the load balancer's read timeout together"`

	RevocationMaxStaleness time.Duration `env:"REVOCATION_MAX_STALENESS" envDefault:"5m" desc:"how old the knowledge of revoked tokens may be; with older, requests are answered 503"`

	HTTP  httpserver.Config
	Mongo MongoConfig
	Redis redisclient.Config
	NATS  natsbus.Config

	Tracing otlp.Config
}

// MongoConfig says where the database is.
type MongoConfig struct {
	URI         config.Secret `env:"MONGODB_URI,required" desc:"connection string; TLS, authentication and the like are parts of it; its TLS files are read again at each connection, a password is not"`
	Database    string        `env:"MONGODB_DATABASE" desc:"name of the database; by default the one that the connection string names, or sealpost"`
	MaxPoolSize uint64        `env:"MONGODB_MAX_POOL_SIZE" envDefault:"100" desc:"connections to each server"`
	Timeout     time.Duration `env:"MONGODB_TIMEOUT" envDefault:"5s" desc:"bound on an operation for which nothing shorter holds; the server is told of it"`
}

// Validate implements config.Validator.
func (c *Config) Validate() error {
	var faults []error
	if c.Port < 0 || c.Port > 65535 {
		faults = append(faults, errors.New("PORT must be from 0 to 65535"))
	}
	if c.RateLimit != "on" && c.RateLimit != "off" {
		faults = append(faults, errors.New("RATE_LIMIT must be on or off"))
	}
	if c.ShutdownTimeout <= 0 || c.RevocationMaxStaleness <= 0 {
		faults = append(faults, errors.New("SHUTDOWN_TIMEOUT and REVOCATION_MAX_STALENESS must be positive"))
	}
	return errors.Join(faults...)
}

// Validate implements config.Validator.
func (c *MongoConfig) Validate() error {
	var faults []error
	if c.URI != "" && c.store().Validate() != nil {
		faults = append(faults, errors.New("MONGODB_URI is not a connection string"))
	}
	if c.MaxPoolSize == 0 || c.Timeout <= 0 {
		faults = append(faults, errors.New("MONGODB_MAX_POOL_SIZE and MONGODB_TIMEOUT must be positive"))
	}
	return errors.Join(faults...)
}

func (c *MongoConfig) store() mongo.Config {
	return mongo.Config{URI: c.URI.Reveal(), Database: c.Database, MaxPoolSize: c.MaxPoolSize, Timeout: c.Timeout}
}

// TokenConfig is the configuration of a service that checks tokens but signs none.
type TokenConfig struct {
	Issuer   string `env:"JWT_ISSUER" envDefault:"sealpost" desc:"who issues the tokens (claim iss); the same in every service"`
	Audience string `env:"JWT_AUDIENCE" envDefault:"sealpost" desc:"who the tokens are for (claim aud); the same in every service"`
	KeysURL  string `env:"JWKS_URL,required" desc:"where the auth service publishes the keys that verify tokens: http://auth:3000/.well-known/jwks.json"`
}
