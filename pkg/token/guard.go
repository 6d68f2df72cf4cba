package token

import (
	"context"
	"time"
)

// DefaultMaxStaleness is how old the knowledge of revocations may be unless a Guard says otherwise.
const DefaultMaxStaleness = 5 * time.Minute

// Revocations is what is known here of tokens refused before their time. Neither method may do I/O: both are asked on
// every request.
type Revocations interface {
	// Revoked reports whether the token is known to be refused.
	Revoked(id Identity) bool
	// Staleness is how long ago it was last certain that nothing was missing.
	Staleness() time.Duration
}

// Guard decides whether a token is good now.
type Guard struct {
	// Verifier reads a token and says whether it is one of ours and in its time: a *Verifier.
	Verifier interface {
		Verify(raw string) (Identity, error)
	}
	Revocations Revocations
	// MaxStaleness is how old the knowledge of revocations may be; 0 means DefaultMaxStaleness.
	MaxStaleness time.Duration
}

// Check says what a good token says. Its errors wrap ErrInvalid, ErrExpired, ErrRevoked or ErrUnavailable. It does no
// I/O. A revocation that is known holds, however old that knowledge is.
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
