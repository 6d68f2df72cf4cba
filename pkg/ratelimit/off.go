package ratelimit

import "context"

// Off is a Limiter that allows everything. Its results have no Limit to tell clients about.
type Off struct{}

// Allow implements Limiter.
func (Off) Allow(context.Context, string) (Result, error) { return Result{Allowed: true}, nil }

// AllowN implements Limiter.
func (Off) AllowN(context.Context, string, int) (Result, error) { return Result{Allowed: true}, nil }

// GiveBack implements Limiter.
func (Off) GiveBack(context.Context, string, int) error { return nil }
