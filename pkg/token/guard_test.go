package token_test

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/token"
)

// knowledge is a set of known revocations.
type knowledge struct {
	revoked map[string]bool
	age     time.Duration
}

func (k *knowledge) Revoked(id token.Identity) bool { return k.revoked[id.TokenID] }
func (k *knowledge) Staleness() time.Duration       { return k.age }

func TestAGuardLetsGoodTokensPassAndSaysWhyItRefusesOthers(t *testing.T) {
	w := newWorld(t)
	raw, issued, err := w.signer.Issue("alice", "s", 0)
	require.NoError(t, err)
	for _, c := range []struct {
		name    string
		raw     string
		revoked bool
		age     time.Duration
		later   time.Duration
		want    error
	}{
		{name: "good", raw: raw},
		{name: "good, knowledge as old as it may be", raw: raw, age: token.DefaultMaxStaleness},
		{name: "knowledge too old", raw: raw, age: token.DefaultMaxStaleness + 1, want: token.ErrUnavailable},
		{name: "nothing known yet", raw: raw, age: math.MaxInt64, want: token.ErrUnavailable},
		{name: "revoked", raw: raw, revoked: true, want: token.ErrRevoked},
		{name: "revoked, knowledge too old", raw: raw, revoked: true, age: time.Hour, want: token.ErrRevoked},
		{name: "expired", raw: raw, later: 2 * lifetime, want: token.ErrExpired},
		{name: "forged, knowledge too old", raw: raw + "x", age: time.Hour, want: token.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.now = epoch.Add(c.later)
			g := &token.Guard{Verifier: w.verifier, Revocations: &knowledge{map[string]bool{issued.TokenID: c.revoked}, c.age}}
			id, err := g.Check(t.Context(), c.raw)
			require.ErrorIs(t, err, c.want)
			if c.want == nil {
				require.Equal(t, issued, id)
			} else {
				require.Zero(t, id)
			}
		})
	}
}

func TestHowOldKnowledgeMayBeIsASetting(t *testing.T) {
	w := newWorld(t)
	raw, _, err := w.signer.Issue("alice", "s", 0)
	require.NoError(t, err)
	g := &token.Guard{Verifier: w.verifier, Revocations: &knowledge{age: 2 * time.Second}, MaxStaleness: time.Second}
	_, err = g.Check(t.Context(), raw)
	require.ErrorIs(t, err, token.ErrUnavailable)
}

func BenchmarkCheck(b *testing.B) {
	w := newWorld(b)
	raw, _, err := w.signer.Issue("alice", "s", 0)
	require.NoError(b, err)
	g := &token.Guard{Verifier: w.verifier, Revocations: &knowledge{}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Check(b.Context(), raw); err != nil {
			b.Fatal(err)
		}
	}
}
