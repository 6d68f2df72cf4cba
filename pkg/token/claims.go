package token

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/store"
)

const (
	// Leeway is the clock difference of two nodes up to which a token that is valid on one is valid on the other: the minute that
	// the design allows, plus half a minute. It applies to iat and nbf, which a slow clock has not reached yet, and to exp, which a
	// fast clock has already passed. So a token may be accepted that long after its exp.
	Leeway = 90 * time.Second
	// MaxLifetime is the longest lifetime of a token under any setting. It bounds how long a revocation must be kept, even one made
	// under another lifetime setting.
	MaxLifetime = 30 * 24 * time.Hour

	maxTokenBytes = 8 << 10
	maxIDBytes    = 64
)

// claims is the JSON form. Generation is a pointer to tell 0, which is valid, from a missing value, which is not.
type claims struct {
	jwt.RegisteredClaims
	Username   string `json:"username"`
	SessionID  string `json:"sid"`
	Generation *int64 `json:"gen"`
}

func newClaims(issuer, audience string, id Identity) claims {
	return claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Audience: jwt.ClaimStrings{audience}, Subject: id.Subject, ID: id.TokenID,
			IssuedAt: jwt.NewNumericDate(id.IssuedAt), ExpiresAt: jwt.NewNumericDate(id.ExpiresAt),
		},
		Username: id.Username, SessionID: id.SessionID, Generation: &id.Generation,
	}
}

// identity checks all claims except issuer, audience and those that depend on the current time.
func (c *claims) identity() (Identity, error) {
	switch {
	case !api.ValidUsername(c.Username) || c.Subject != store.Canonical(c.Username):
		return Identity{}, fmt.Errorf("%w: sub and username do not name one user", ErrInvalid)
	case !validID(c.ID) || !validID(c.SessionID):
		return Identity{}, fmt.Errorf("%w: jti or sid", ErrInvalid)
	case c.Generation == nil || *c.Generation < 0:
		return Identity{}, fmt.Errorf("%w: gen", ErrInvalid)
	case c.IssuedAt == nil || c.ExpiresAt == nil:
		return Identity{}, fmt.Errorf("%w: iat or exp is missing", ErrInvalid)
	}
	if lifetime := c.ExpiresAt.Sub(c.IssuedAt.Time); lifetime <= 0 || lifetime > MaxLifetime {
		return Identity{}, fmt.Errorf("%w: lifetime", ErrInvalid)
	}
	return Identity{
		Username: c.Username, Subject: c.Subject, SessionID: c.SessionID, TokenID: c.ID, Generation: *c.Generation,
		IssuedAt: c.IssuedAt.UTC(), ExpiresAt: c.ExpiresAt.UTC(),
	}, nil
}

func validID(id string) bool { return id != "" && len(id) <= maxIDBytes }
