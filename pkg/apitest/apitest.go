// Package apitest is the black-box suite of the HTTP contract: what every deployment passes, whatever it is made of. It
// knows nothing but the API, and holds every answer it sees against openapi.yaml.
//
// Read as a specification, each test's name is a claim, and its body shows the requests that prove it.
package apitest

import (
	"crypto/ed25519"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

// Target is a deployment under test. It runs with the defaults but for cheap password hashing and RATE_LIMIT=off.
type Target struct {
	// BaseURL is where clients reach it, without a path: http://127.0.0.1:3001.
	BaseURL string
	// With starts another deployment, with an empty store and with env on top of the settings of this one. It ends with
	// t.
	With func(t *testing.T, env map[string]string) Target
	// SigningKey is the key that signs the deployment's tokens, so that the suite can mint some that it would not issue.
	SigningKey ed25519.PrivateKey
	// Snapshot digests all that the deployment's store holds, but for what is only there for a while. Nil if that cannot
	// be told; then what can be seen through the API has to do.
	Snapshot func() (string, error)
}

// Run runs the suite against a deployment. It takes the deployment for its own: nobody else may use it meanwhile.
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
		// What only a fault inside the deployment can provoke is for the tests that have their hands in it.
		require.NoError(t, s.contract.unseen(map[api.Code]bool{api.CodeInternal: true, api.CodeUnavailable: true, api.CodeDraining: true}))
	})
}

// claim is a sentence about the contract and its proof.
type claim struct {
	name  string
	prove func(t *testing.T)
}

// runAll proves claims that do not disturb each other.
func runAll(t *testing.T, claims []claim) {
	for _, c := range claims {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.prove(t)
		})
	}
}
