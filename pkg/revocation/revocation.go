// Package revocation refuses tokens before they expire. Revocations are a log that every node follows into memory (Mirror). So checking a
// token costs no round trip, and known revocations hold while the log is unavailable.
package revocation

import (
	"context"
	"errors"
	"time"

	"github.com/sealpost/sealpost/pkg/token"
)

// ErrUnavailable means that the log could not be reached: nothing was revoked, or it is unknown whether it was.
var ErrUnavailable = errors.New("revocation log unavailable")

// Record refuses one token, or all tokens of an account before a generation.
type Record struct {
	// TokenID is the jti of the refused token; empty for a record about an account.
	TokenID string
	// Subject is the canonical username, in both kinds of record.
	Subject string
	// MinGeneration is the lowest generation that is still accepted; 0 for a record about one token.
	MinGeneration int64
	// ExpiresAt is when the last token that the record refuses expires; then the record may be forgotten.
	ExpiresAt time.Time
}

// Refuses reports whether the record refuses the token of id.
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
	// Follow calls apply for every record that has not expired, oldest first, then for each appended later, in order, until ctx ends or the
	// log fails. It returns the reason. It calls current each time it has found that apply has had every record: first when it has reached
	// the end, then at least every few seconds.
	Follow(ctx context.Context, apply func(Record), current func()) error
}
