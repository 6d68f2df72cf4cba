// Package redisclient connects to Redis: one server, a set monitored by Sentinels, or a Cluster.
package redisclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/livefile"
)

// The modes of Config.
const (
	Single   = "single"
	Sentinel = "sentinel"
	Cluster  = "cluster"
)

// Config is the operator's configuration.
type Config struct {
	URL  config.Secret `env:"REDIS_URL,required" desc:"redis://user:password@host:port/0, or rediss:// for TLS; further addresses as ?addr=host:port&addr=…"`
	Mode string        `env:"REDIS_MODE" envDefault:"single" desc:"single, sentinel (the URL names the Sentinels, and ?master_name= the set) or cluster"`
	CA   string        `env:"REDIS_CA_FILE" desc:"PEM file of the authorities that Redis's certificate may come from; the system's by default; read again at each connection"`
	Cert string        `env:"REDIS_CERT_FILE" desc:"PEM file of the certificate to show to Redis; none by default; read again at each connection"`
	Key  string        `env:"REDIS_KEY_FILE" desc:"PEM file of that certificate's private key"`

	// URLFile is reread for each connection, for the name and the password.
	URLFile config.SecretFile `env:"REDIS_URL_FILE"`
}

// Validate implements config.Validator.
func (c *Config) Validate() error {
	if c.URL == "" {
		return nil // reported as missing
	}
	client, err := Open(*c, nil)
	if err != nil {
		return err
	}
	return client.Close()
}

const (
	dialTimeout = 2 * time.Second
	// ioTimeout bounds one command whose context has no earlier deadline.
	ioTimeout = 2 * time.Second
	// maxRetries is how often a command is retried after a broken connection. All commands used here may be repeated.
	maxRetries = 2
	// clusterReload is how often a Cluster's client refreshes its map of slots. It is not told when a master dies, and until the
	// refresh it keeps dialling it.
	clusterReload = 5 * time.Second
)

// Client is a client of the servers that the Config names.
type Client struct {
	redis.UniversalClient

	cluster bool
}

// Cluster reports whether the servers are a Cluster: then all keys of a command must be in one slot.
func (c *Client) Cluster() bool { return c.cluster }

// Open makes a client. It reports changes of files to files, which may be nil. It connects on first use.
func Open(c Config, files *livefile.Reporter) (*Client, error) {
	open := map[string]func(Config, *livefile.Reporter) (redis.UniversalClient, error){Single: openSingle, Sentinel: openSentinel, Cluster: openCluster}[c.Mode]
	if open == nil {
		return nil, fmt.Errorf("REDIS_MODE %q is none of %s, %s, %s", c.Mode, Single, Sentinel, Cluster)
	}
	client, err := open(c, files)
	if err != nil {
		return nil, err
	}
	return &Client{client, c.Mode == Cluster}, nil
}

// errURL does not wrap its cause, which would show the password.
var errURL = errors.New("REDIS_URL is not an address of the form that REDIS_MODE needs")

// common points to the options that the library's three kinds of client share.
type common struct {
	tls               *tls.Config
	dialer            *dialer
	credentials       *credentials
	dial, read, write *time.Duration
	retries           *int
	contextTimeouts   *bool
}

func (c Config) set(o common, files *livefile.Reporter) (err error) {
	*o.dial, *o.read, *o.write, *o.retries, *o.contextTimeouts = dialTimeout, ioTimeout, ioTimeout, maxRetries, true
	*o.dialer, *o.credentials, err = c.connecting(o.tls, files)
	return err
}

func openSingle(c Config, files *livefile.Reporter) (redis.UniversalClient, error) {
	o, err := redis.ParseURL(c.URL.Reveal())
	if err != nil {
		return nil, errURL
	}
	if err := c.set(common{
		o.TLSConfig, &o.Dialer, &o.CredentialsProviderContext, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.MaxRetries, &o.ContextTimeoutEnabled,
	}, files); err != nil {
		return nil, err
	}
	return redis.NewClient(o), nil
}

func openSentinel(c Config, files *livefile.Reporter) (redis.UniversalClient, error) {
	o, err := redis.ParseFailoverURL(c.URL.Reveal())
	if err != nil || o.MasterName == "" {
		return nil, errURL
	}
	if err := c.set(common{
		o.TLSConfig, &o.Dialer, &o.CredentialsProviderContext, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.MaxRetries, &o.ContextTimeoutEnabled,
	}, files); err != nil {
		return nil, err
	}
	return redis.NewFailoverClient(o), nil
}

func openCluster(c Config, files *livefile.Reporter) (redis.UniversalClient, error) {
	o, err := redis.ParseClusterURL(c.URL.Reveal())
	if err != nil {
		return nil, errURL
	}
	if err := c.set(common{
		o.TLSConfig, &o.Dialer, &o.CredentialsProviderContext, &o.DialTimeout, &o.ReadTimeout, &o.WriteTimeout, &o.MaxRetries, &o.ContextTimeoutEnabled,
	}, files); err != nil {
		return nil, err
	}
	o.ClusterStateReloadInterval = clusterReload
	return redis.NewClusterClient(o), nil
}

// LogTo sends the messages of the client library, for all clients of this process, to a log.
func LogTo(log *slog.Logger) { redis.SetLogger(logger{log}) }

// logger implements the library's logger interface.
type logger struct{ *slog.Logger }

// Printf is called with problems: connections that fail, masters that change.
func (l logger) Printf(ctx context.Context, format string, values ...any) {
	l.WarnContext(ctx, "redis client", "message", fmt.Sprintf(format, values...))
}

// observer is a hook that reports every command.
type observer func(ctx context.Context, operation string, took time.Duration, failed bool)

// Observe makes a client report every command or pipeline and its duration to observe, except commands that block to wait for
// something.
func Observe(client redis.UniversalClient, observe func(ctx context.Context, operation string, took time.Duration, failed bool)) {
	client.AddHook(observer(observe))
}

// DialHook implements redis.Hook.
func (o observer) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (o observer) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		began := time.Now()
		err := next(ctx, cmd)
		if cmd.Name() != "xread" {
			o(ctx, cmd.Name(), time.Since(began), failure(err))
		}
		return err
	}
}

// ProcessPipelineHook implements redis.Hook.
func (o observer) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		began := time.Now()
		err := next(ctx, cmds)
		took, failed := time.Since(began), failure(err)
		for _, cmd := range cmds { // err is that of the first failing command, and that may be harmless
			failed = failed || failure(cmd.Err())
		}
		o(ctx, "pipeline", took, failed)
		return err
	}
}

// harmless are the prefixes of error answers that the library handles, because not all servers know all commands it uses, or that
// mean that nothing was found.
var harmless = []string{"NOSCRIPT ", "MOVED ", "ASK ", "ERR no such key", "ERR unknown command", "ERR unknown subcommand", "ERR Unknown subcommand"}

// failure reports whether an error is more than an answer such as "not found". A server that answers that it is full, read-only or
// does not permit a command has failed.
func failure(err error) bool {
	if err == nil || errors.Is(err, redis.Nil) {
		return false
	}
	var answer redis.Error
	return !errors.As(err, &answer) ||
		!slices.ContainsFunc(harmless, func(beginning string) bool { return strings.HasPrefix(answer.Error(), beginning) })
}
