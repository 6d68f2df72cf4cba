package token

import (
	"context"
	"time"
)

// DefaultMaxStaleness is how old the known revocations may be unless a Guard sets another limit.
const DefaultMaxStaleness = 5 * time.Minute

// Revocations are the revocations known here. Neither method may do I/O: every request calls both.
type Revocations interface {
	// Revoked reports whether the token is known to be revoked.
	Revoked(id Identity) bool
	// Staleness is how long ago it was last certain that no revocation was missing.
	Staleness() time.Duration
}

// Guard decides whether a token is valid now.
type Guard struct {
	// Verifier checks signature, claims and time of a token: a *Verifier.
	Verifier interface {
		Verify(raw string) (Identity, error)
	}
	Revocations Revocations
	// MaxStaleness is how old the known revocations may be; 0 means DefaultMaxStaleness.
	MaxStaleness time.Duration
}

// Check returns the identity of a valid token. Its errors wrap ErrInvalid, ErrExpired, ErrRevoked or ErrUnavailable. It does no
// I/O. A known revocation applies however old the known revocations are.
func (g *Guard) Check(_ context.Context, raw string) (Identity, error) {
	id, err := g.Verifier.Verify(raw)
	if err != nil {
		return Identity{}, err
	}
	if g.Revocations.Revoked(id) {
		return Identity{}, ErrRevoked
	}
	if g.Revocations.Staleness() > g.maxStaleness() {
		return Identity{}, ErrUnavailable
	}
	return id, nil
}

func (g *Guard) maxStaleness() time.Duration {
	if g.MaxStaleness == 0 {
		return DefaultMaxStaleness
	}
	return g.MaxStaleness
}
