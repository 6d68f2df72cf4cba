package app

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/serverkey"
	"github.com/sealpost/sealpost/pkg/service"
	"github.com/sealpost/sealpost/pkg/store"
)

// Process is the configuration of the keys service that runs as a separate process.
type Process struct {
	Service   service.Config
	Keys      Config
	Passwords password.Settings
	Tokens    service.TokenConfig
	Server    ServerKeyConfig
}

// ServerKeyConfig configures the deployment's key.
type ServerKeyConfig struct {
	Key config.Secret `env:"SERVER_KEY" desc:"the deployment's RSA-4096 private key, PEM (PKCS #8); by default the first node makes one and keeps it in the database"`
}

// Validate implements config.Validator.
func (c *ServerKeyConfig) Validate() error {
	if c.Key == "" {
		return nil
	}
	if _, err := serverkey.Public([]byte(c.Key.Reveal())); err != nil {
		return fmt.Errorf("SERVER_KEY: %w", err)
	}
	return nil
}

const serverKeyName = "server-key"

// serverKey returns the public half of the deployment's one key. If several nodes create it at once, all take the first one stored.
func (c *ServerKeyConfig) serverKey(ctx context.Context, s store.Meta) (string, error) {
	if c.Key != "" {
		return serverkey.Public([]byte(c.Key.Reveal()))
	}
	standing, err := s.Value(ctx, serverKeyName)
	if errors.Is(err, store.ErrNotFound) {
		var made []byte
		if made, err = serverkey.New(); err == nil {
			standing, err = s.PutOnce(ctx, serverKeyName, made)
		}
	}
	if err != nil {
		return "", err
	}
	return serverkey.Public(standing)
}

// Run runs the service until ctx ends.
func Run(ctx context.Context, p Process, logs io.Writer) error {
	return service.Run(ctx, "keys", p.Service, logs, func(ctx context.Context, n *service.Node) error {
		var serverKey string
		err := n.WaitFor(ctx, "the server's key", func(ctx context.Context) error {
			var err error
			serverKey, err = p.Server.serverKey(ctx, n.Store)
			return err
		})
		if err != nil {
			return err
		}
		tokens, err := n.RemoteGuard(ctx, p.Tokens)
		if err != nil {
			return err
		}
		bus, err := n.Bus(nil, nil)
		if err != nil {
			return err
		}
		passwords, err := p.Passwords.Open(n.Registry)
		if err != nil {
			return err
		}
		a, err := New(p.Keys, Deps{
			Keys: n.Store, ServerKey: serverKey, Tokens: tokens, Passwords: passwords, Limiter: n.LocalLimiter, Bounds: n.Bounds, Log: n.Log, Registry: n.Registry,
			Changed: func(user string) {
				if err := bus.PublishKeyChange(user); err != nil {
					n.Log.Warn("senders may use a replaced key for some seconds", "error", err.Error())
				}
			},
		})
		if err != nil {
			return err
		}
		if err := n.Serve(ctx, a.Routes, nil); err != nil {
			return err
		}
		n.DrainFirst()
		return nil
	})
}
