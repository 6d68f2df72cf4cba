package app

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/service"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/token/keyfolder"
)

// Process is the configuration of the auth service that runs as a separate process.
type Process struct {
	Service   service.Config
	Auth      Config
	Passwords password.Settings
	Keys      SigningConfig
}

// SigningConfig says where the signing keys are.
type SigningConfig struct {
	Dir        string        `env:"JWT_KEYS_DIR" desc:"folder of the keys of tokens, read again every 10 s: signing.pem signs (Ed25519, PEM, as openssl genpkey -algorithm ed25519 makes it); tokens of every other .pem file, a PRIVATE KEY or a PUBLIC KEY, are good"`
	SigningKey config.Secret `env:"JWT_SIGNING_KEY" desc:"instead of JWT_KEYS_DIR: the one key of tokens, which cannot be exchanged without everybody logging in again"`
}

// Validate implements config.Validator.
func (c *SigningConfig) Validate() error {
	if (c.Dir == "") == (c.SigningKey == "") {
		return errors.New("JWT_KEYS_DIR or JWT_SIGNING_KEY is required, and not both")
	}
	if c.Dir != "" {
		if _, err := keyfolder.Open(keyfolder.Config{Dir: c.Dir}); err != nil {
			return fmt.Errorf("JWT_KEYS_DIR: %w", err)
		}
		return nil
	}
	_, err := c.oneKey()
	return err
}

func (c *SigningConfig) oneKey() (token.SigningKeys, error) {
	key, err := token.ParsePrivateKey([]byte(c.SigningKey.Reveal()))
	if err != nil {
		return nil, fmt.Errorf("JWT_SIGNING_KEY: %w", err)
	}
	return token.NewKeyring(key), nil
}

// open returns the keys, and keeps rereading them while the node runs.
func (c *SigningConfig) open(n *service.Node) (token.SigningKeys, error) {
	if c.Dir == "" {
		return c.oneKey()
	}
	keys, err := keyfolder.Open(keyfolder.Config{Dir: c.Dir, Reporter: n.Files, Log: n.Log})
	if err != nil {
		return nil, fmt.Errorf("JWT_KEYS_DIR: %w", err)
	}
	n.Stack.Go("signing keys", keys.Run)
	return keys, nil
}

// Run runs the service until ctx ends.
func Run(ctx context.Context, p Process, logs io.Writer) error {
	return service.Run(ctx, "auth", p.Service, logs, func(ctx context.Context, n *service.Node) error {
		keys, err := p.Keys.open(n)
		if err != nil {
			return err
		}
		tokens, err := n.Guard(keys, p.Auth.TokenIssuer, p.Auth.TokenAudience)
		if err != nil {
			return err
		}
		passwords, err := p.Passwords.Open(n.Registry)
		if err != nil {
			return err
		}
		a, err := New(p.Auth, Deps{
			Accounts: n.Store, Sessions: n.Store, Revocations: n.Mirror, Tokens: tokens, SigningKeys: keys, Passwords: passwords,
			Limiter: n.SharedLimiter, LocalLimiter: n.LocalLimiter, Log: n.Log, Registry: n.Registry,
		})
		if err != nil {
			return err
		}
		if _, err := n.Bus(nil, nil); err != nil {
			return err
		}
		if err := n.Serve(ctx, a.Routes, nil); err != nil {
			return err
		}
		n.DrainFirst()
		return nil
	})
}
