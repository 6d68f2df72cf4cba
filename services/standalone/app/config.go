package app

import (
	"errors"
	"fmt"
	"time"

	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/tracing/otlp"
	authapp "github.com/sealpost/sealpost/services/auth/app"
	keysapp "github.com/sealpost/sealpost/services/keys/app"
	messagesapp "github.com/sealpost/sealpost/services/messages/app"
	gatewayapp "github.com/sealpost/sealpost/services/poll-gateway/app"
)

// Config is the operator's configuration.
type Config struct {
	Host            string        `env:"HOST" desc:"address to listen on; all by default"`
	Port            int           `env:"PORT" envDefault:"3001" desc:"port that clients connect to; 0 for any free one"`
	DataDir         string        `env:"DATA_DIR" envDefault:"./data" desc:"folder of the database and the keys; made if it is not there"`
	StoreMemory     int64         `env:"STORE_MEMORY" envDefault:"67108864" desc:"bytes of memory that the database may use for what it has read and written"`
	LogLevel        string        `env:"LOG_LEVEL" envDefault:"info" desc:"debug, info, warn or error"`
	RateLimit       string        `env:"RATE_LIMIT" envDefault:"on" desc:"off turns all rate limits off, for a load test"`
	PurgeEvery      time.Duration `env:"PURGE_INTERVAL" envDefault:"1m" desc:"how often expired messages are removed"`
	ShutdownTimeout time.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"30s" desc:"bound on the whole shutdown"`

	RevocationMaxStaleness time.Duration `env:"REVOCATION_MAX_STALENESS" envDefault:"5m" desc:"how old the knowledge of revoked tokens may be; with older, requests are answered 503"`

	HTTP      httpserver.Config
	Auth      authapp.Config
	Keys      keysapp.Config
	Passwords password.Settings
	Messages  messagesapp.Config
	Gateway   gatewayapp.Config
	Tracing   otlp.Config
}

// leastStoreMemory is the least that the database works with.
const leastStoreMemory = 8 << 20

// Validate implements config.Validator.
func (c *Config) Validate() error {
	var faults []error
	if c.Port < 0 || c.Port > 65535 {
		faults = append(faults, errors.New("PORT must be from 0 to 65535"))
	}
	if c.DataDir == "" {
		faults = append(faults, errors.New("DATA_DIR must not be empty"))
	}
	if c.StoreMemory < leastStoreMemory {
		faults = append(faults, fmt.Errorf("STORE_MEMORY must be at least %d", leastStoreMemory))
	}
	if c.RateLimit != "on" && c.RateLimit != "off" {
		faults = append(faults, errors.New("RATE_LIMIT must be on or off"))
	}
	if c.PurgeEvery <= 0 || c.ShutdownTimeout <= 0 || c.RevocationMaxStaleness <= 0 {
		faults = append(faults, errors.New("PURGE_INTERVAL, SHUTDOWN_TIMEOUT and REVOCATION_MAX_STALENESS must be positive"))
	}
	return errors.Join(faults...)
}
