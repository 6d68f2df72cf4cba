// Package apitest is the black-box suite of the HTTP contract, which every deployment passes, whatever it is made of. It knows only the
// API, and checks every answer against openapi.yaml.
//
// Read as a specification, each test's name is a claim, and its body shows the requests that prove it.
package apitest

import (
	"crypto/ed25519"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

// Target is a deployment under test. It runs with the defaults except for cheap password hashing and RATE_LIMIT=off.
type Target struct {
	// BaseURL is its address for clients, without a path: http://127.0.0.1:3001.
	BaseURL string
	// With starts another deployment with an empty store and the settings of this one, overridden by env. It ends with t.
	With func(t *testing.T, env map[string]string) Target
	// SigningKey signs the deployment's tokens, so that the suite can make some that the deployment would not issue.
	SigningKey ed25519.PrivateKey
	// Snapshot returns a digest of the deployment's store without its short-lived parts. If it is nil, the suite compares what the API
	// shows.
	Snapshot func() (string, error)
}

// Run runs the suite against a deployment. Nobody else may use the deployment meanwhile.
func Run(t *testing.T, target Target) {
	s := newSuite(t)
	main := s.open(t, target)
	t.Run("claims", func(t *testing.T) {
		for _, subject := range []struct {
			name   string
			claims func(*deployment) []claim
		}{
			{"registration", registration}, {"login", login}, {"sessions", sessions}, {"tokens", tokens},
			{"password", passwordChange}, {"directory", directory}, {"key rotation", keyRotation},
			{"send", sending}, {"limits of a send", sendLimits}, {"stale keys", staleKeys}, {"idempotency", idempotency},
			{"polls", polls}, {"cursors", cursors}, {"stream", streams}, {"history", history}, {"read receipts", receipts},
			{"expiry", expiry}, {"privacy", privacy}, {"HTTP", transport},
		} {
			t.Run(subject.name, func(t *testing.T) {
				t.Parallel()
				runAll(t, subject.claims(main))
			})
		}
	})
	t.Run("bad input", func(t *testing.T) { badInput(t, s.open(t, target.With(t, nil))) })
	t.Run("settings", func(t *testing.T) { settings(t, s.open(t, target.With(t, tightSettings()))) })
	t.Run("without parking", func(t *testing.T) {
		d := s.open(t, target.With(t, map[string]string{"PARK_POLLS": "false"}))
		runAll(t, append(polls(d), streams(d)...))
	})
	t.Run("rate limits", func(t *testing.T) { rateLimits(t, s.open(t, target.With(t, rateSettings()))) })
	t.Run("every route and every code was seen", func(t *testing.T) {
		// Answers that only a fault inside the deployment provokes are left to the tests of its internals.
		require.NoError(t, s.contract.unseen(map[api.Code]bool{api.CodeInternal: true, api.CodeUnavailable: true, api.CodeDraining: true}))
	})
}

// claim is a sentence about the contract, and its proof.
type claim struct {
	name  string
	prove func(t *testing.T)
}

// runAll proves claims concurrently.
func runAll(t *testing.T, claims []claim) {
	for _, c := range claims {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.prove(t)
		})
	}
}
