package app

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/service"
	"github.com/sealpost/sealpost/pkg/token"
)

// Process is what an operator sets of the auth service as a process of its own.
type Process struct {
	Service service.Config
	Auth    Config
	Keys    SigningConfig
}

// SigningConfig holds the keys of tokens.
type SigningConfig struct {
	SigningKey config.Secret `env:"JWT_SIGNING_KEY,required" desc:"key that signs tokens: Ed25519, PEM (PKCS #8), as openssl genpkey -algorithm ed25519 makes it"`
	VerifyKeys config.Secret `env:"JWT_VERIFY_KEYS" desc:"further keys whose tokens are good, PEM one after the other: PUBLIC KEY, or PRIVATE KEY, of which the public half is used; for a rotation"`
}

// Validate implements config.Validator.
func (c *SigningConfig) Validate() error {
	if c.SigningKey == "" {
		return nil // reported as missing
	}
	_, _, err := c.keys()
	return err
}

func (c *SigningConfig) keys() (signing ed25519.PrivateKey, others []ed25519.PublicKey, err error) {
	signing, err = token.ParsePrivateKey([]byte(c.SigningKey.Reveal()))
	if err != nil {
		err = fmt.Errorf("JWT_SIGNING_KEY: %w", err)
	}
	rest := []byte(c.VerifyKeys.Reveal())
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return signing, others, err
		}
		key, fault := publicKey(block)
		if fault != nil {
			return nil, nil, errors.Join(err, fault)
		}
		others = append(others, key)
	}
}

// publicKey reads one block of JWT_VERIFY_KEYS. Its error says nothing of the content.
func publicKey(block *pem.Block) (ed25519.PublicKey, error) {
	var parsed any
	var err error
	if block.Type == "PRIVATE KEY" {
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	} else {
		parsed, err = x509.ParsePKIXPublicKey(block.Bytes)
	}
	if err == nil {
		switch key := parsed.(type) {
		case ed25519.PublicKey:
			return key, nil
		case ed25519.PrivateKey:
			return key.Public().(ed25519.PublicKey), nil
		}
	}
	return nil, errors.New("JWT_VERIFY_KEYS holds something else than Ed25519 keys in PEM")
}

// Run runs the service until ctx ends.
func Run(ctx context.Context, p Process, logs io.Writer) error {
	return service.Run(ctx, "auth", p.Service, logs, func(ctx context.Context, n *service.Node) error {
		signing, others, err := p.Keys.keys()
		if err != nil {
			return err
		}
		keys := token.NewKeySet(append(slices.Clone(others), signing.Public().(ed25519.PublicKey))...)
		tokens, err := n.Guard(keys, p.Auth.TokenIssuer, p.Auth.TokenAudience)
		if err != nil {
			return err
		}
		a, err := New(p.Auth, Deps{
			Accounts: n.Store, Sessions: n.Store, Revocations: n.Mirror, Tokens: tokens, SigningKey: signing, VerifyKeys: others,
			Limiter: n.SharedLimiter, Log: n.Log, Registry: n.Registry,
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
