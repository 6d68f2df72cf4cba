// Package ratelimit limits how often something may happen for a key.
package ratelimit

import (
	"context"
	"errors"
	"time"
)

// ErrUnavailable means that the limiter could not decide.
var ErrUnavailable = errors.New("rate limiter unavailable")

// Quota allows Events in any Period, even all at once.
type Quota struct {
	Events int
	Period time.Duration
}

// Result is a decision, with what to tell the client about it.
type Result struct {
	Allowed bool
	Limit   int
	// Remaining is how many more events are allowed at once; 0 if this one, or these, were not.
	Remaining int
	// ResetAfter is the time until the whole quota is available again.
	ResetAfter time.Duration
	// RetryAfter is the time until as many events as were asked for are allowed; 0 if they were.
	RetryAfter time.Duration
}

// Limiter is the port: one quota, many keys.
type Limiter interface {
	// Allow counts one event for key, if the quota allows it. Its errors wrap ErrUnavailable.
	Allow(ctx context.Context, key string) (Result, error)
	// AllowN counts n events for key, at least 1, if the quota allows all of them; else it counts none. It never allows more than the quota
	// has. Its errors are those of Allow.
	AllowN(ctx context.Context, key string, n int) (Result, error)
	// GiveBack takes back n events, at least 1, that were counted for key and in the end did not happen. It never makes more available
	// than the quota. Its errors are those of Allow.
	GiveBack(ctx context.Context, key string, n int) error
}
