// Package revocation refuses tokens before they expire. Revocations are a log that every node follows into memory
// (Mirror), so that checking a token costs no round trip and what a node once knew holds when the log is away.
package revocation

import (
	"context"
	"errors"
	"time"

	"github.com/sealpost/sealpost/pkg/token"
)

// ErrUnavailable means that the log could not be reached: nothing was revoked, or it is not known whether it was.
var ErrUnavailable = errors.New("revocation log unavailable")

// Record refuses one token, or all tokens of an account before a generation.
type Record struct {
	// TokenID is the jti of the one token that is refused; empty if the record is about an account.
	TokenID string
	// Subject is the canonical username, in both kinds of record.
	Subject string
	// MinGeneration is the lowest generation that is still good; 0 if the record is about one token.
	MinGeneration int64
	// ExpiresAt is when the last token that the record refuses expires of itself; then the record may be forgotten.
	ExpiresAt time.Time
}

// Refuses reports whether the record is about the token that id was read from.
func (r Record) Refuses(id token.Identity) bool {
	if r.TokenID != "" {
		return r.TokenID == id.TokenID
	}
	return r.Subject == id.Subject && id.Generation < r.MinGeneration
}

// Log is the port: durable, ordered, shared by all nodes.
type Log interface {
	// Append adds a record. When it returns nil, the record is durable and every follower will see it. Its errors
	// wrap ErrUnavailable.
	Append(ctx context.Context, r Record) error
	// Follow hands every record that has not expired to apply, oldest first, then those that are appended later, in
	// order, until ctx ends or the log fails, and returns the reason. It calls current each time it has just learned
	// that there is nothing it has not handed over: first when it has reached the end, then at least every few seconds.
	Follow(ctx context.Context, apply func(Record), current func()) error
}
