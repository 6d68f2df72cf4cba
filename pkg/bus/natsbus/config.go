package natsbus

import (
	"github.com/nats-io/nats.go"

	"github.com/sealpost/sealpost/pkg/config"
)

// Config is what an operator sets.
type Config struct {
	URL         config.Secret `env:"NATS_URL,required" desc:"nats://host:port of one server or more, comma-separated; tls:// for TLS; may hold user:password@"`
	Credentials string        `env:"NATS_CREDENTIALS_FILE" desc:"file with a JWT and its seed, as nsc writes it; read again at each connect"`
	CA          string        `env:"NATS_CA_FILE" desc:"PEM file of the authorities that the servers' certificates may come from; the system's by default"`
}

// Options are the configuration as options of a connection.
func (c Config) Options() []nats.Option {
	var list []nats.Option
	if c.Credentials != "" {
		list = append(list, nats.UserCredentials(c.Credentials))
	}
	if c.CA != "" {
		list = append(list, nats.RootCAs(c.CA))
	}
	return list
}
