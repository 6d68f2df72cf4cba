// Package token issues and checks session tokens: JWTs signed with Ed25519, the algorithm pinned.
package token

import (
	"errors"
	"time"
)

var (
	// ErrInvalid means that the text is no token of ours: malformed, forged, or for somebody else.
	ErrInvalid = errors.New("invalid token")
	// ErrExpired means that a token of ours is past its time.
	ErrExpired = errors.New("token expired")
	// ErrRevoked means that a token of ours was refused before its time.
	ErrRevoked = errors.New("token revoked")
	// ErrUnavailable means that it cannot be said whether the token is good: the revocations known here are too old.
	ErrUnavailable = errors.New("token status unavailable")
)

// Identity is what a good token says.
type Identity struct {
	// Username is the display name; Subject is its canonical form.
	Username string
	Subject  string
	// SessionID (sid) names the session that the login opened; TokenID (jti) names this token.
	SessionID string
	TokenID   string
	// Generation (gen) is the account's generation at the login: see store.Account.
	Generation int64
	IssuedAt   time.Time
	ExpiresAt  time.Time
}

// AcceptedUntil is when verifiers refuse the token at the latest, by their own clocks: Leeway after it has expired.
func (i Identity) AcceptedUntil() time.Time { return i.ExpiresAt.Add(Leeway) }
