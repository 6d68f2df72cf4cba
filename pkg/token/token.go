// Package token issues and checks session tokens: JWTs signed with Ed25519, the algorithm pinned.
package token

import (
	"errors"
	"time"
)

var (
	// ErrInvalid means that the text is not one of our tokens: malformed, forged, or for another audience.
	ErrInvalid = errors.New("invalid token")
	// ErrExpired means that one of our tokens has expired.
	ErrExpired = errors.New("token expired")
	// ErrRevoked means that one of our tokens was revoked.
	ErrRevoked = errors.New("token revoked")
	// ErrNoAccount means that a token is valid, but its account is gone: the store was restored to a time before the account was
	// opened.
	ErrNoAccount = errors.New("the token's account does not exist")
	// ErrUnavailable means that the token cannot be judged: the revocations known here are too old.
	ErrUnavailable = errors.New("token status unavailable")
)

// Identity is what a valid token says.
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

// AcceptedUntil is when every verifier refuses the token at the latest, by its own clock: Leeway after the token has expired.
func (i Identity) AcceptedUntil() time.Time { return i.ExpiresAt.Add(Leeway) }
