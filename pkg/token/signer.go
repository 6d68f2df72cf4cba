package token

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/store"
)

// SignerConfig says what a Signer puts into tokens.
type SignerConfig struct {
	Keys             SigningKeys
	Issuer, Audience string
	// Lifetime of a token: whole seconds, at most MaxLifetime.
	Lifetime time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Signer issues tokens.
type Signer struct{ cfg SignerConfig }

// NewSigner makes a Signer, or reports what is wrong with cfg.
func NewSigner(cfg SignerConfig) (*Signer, error) {
	switch {
	case cfg.Keys == nil:
		return nil, errors.New("token: keys are required")
	case cfg.Issuer == "" || cfg.Audience == "":
		return nil, errors.New("token: an issuer and an audience are required")
	case cfg.Lifetime < time.Second || cfg.Lifetime > MaxLifetime || cfg.Lifetime%time.Second != 0:
		return nil, fmt.Errorf("token: the lifetime must be whole seconds, at most %s", MaxLifetime)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Signer{cfg}, nil
}

// Lifetime is how long an issued token is valid.
func (s *Signer) Lifetime() time.Duration { return s.cfg.Lifetime }

// Issue makes a token for the user, by its display name, and returns its identity.
func (s *Signer) Issue(username, sessionID string, generation int64) (raw string, id Identity, err error) {
	if !api.ValidUsername(username) || !validID(sessionID) || generation < 0 {
		return "", Identity{}, errors.New("token: claims that no token may carry")
	}
	// Tokens have whole seconds; the identity must agree with them.
	issuedAt := s.cfg.Now().UTC().Truncate(time.Second)
	id = Identity{
		Username: username, Subject: store.Canonical(username), SessionID: sessionID, TokenID: newID(),
		Generation: generation, IssuedAt: issuedAt, ExpiresAt: issuedAt.Add(s.cfg.Lifetime),
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, newClaims(s.cfg.Issuer, s.cfg.Audience, id))
	kid, key := s.cfg.Keys.Signing()
	t.Header["kid"] = kid
	if raw, err = t.SignedString(key); err != nil {
		return "", Identity{}, fmt.Errorf("token: sign: %w", err)
	}
	return raw, id, nil
}

// newID is 16 random bytes: unguessable, and never repeated.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
