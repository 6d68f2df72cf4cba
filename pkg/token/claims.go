package token

import (
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/store"
)

const (
	// Leeway is how far the clocks of two nodes may be apart before a token that is good at one is refused at another: the
	// minute that the design allows, and half a minute more. It holds for iat and nbf, which a clock that is behind has not
	// reached yet, and for exp, which one that is ahead has passed already. So a token may live so much longer than it says.
	Leeway = 90 * time.Second
	// MaxLifetime is the longest lifetime of a token, whatever the setting. It bounds how long a revocation has to be
	// remembered, even one that was made while another lifetime was set.
	MaxLifetime = 30 * 24 * time.Hour

	maxTokenBytes = 8 << 10
	maxIDBytes    = 64
)

// claims is what travels. Generation is a pointer because 0 is a good one, and none is not.
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

// identity checks all claims but those about who issued the token for whom, and about the present time.
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
