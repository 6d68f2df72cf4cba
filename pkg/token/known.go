package token

import (
	"crypto/sha256"
	"time"

	"github.com/sealpost/sealpost/pkg/lru"
)

// knownTokens is how many valid tokens a Verifier caches, so that it checks each signature once and not for every request. One
// takes about 400 bytes.
const knownTokens = 1 << 15

// known caches valid tokens by their SHA-256: tokens are secrets, and this avoids another copy.
type known struct {
	tokens *lru.Cache[[sha256.Size]byte, verified]
}

type verified struct {
	identity Identity
	by       signedBy
}

func newKnown() *known {
	return &known{lru.New[[sha256.Size]byte, verified](knownTokens)}
}

// get returns the identity of a cached token that is still valid: it has not expired, and its key is still in the key set.
func (k *known) get(raw string, keys KeySet, now time.Time) (Identity, bool) {
	t, ok := k.tokens.Get(sha256.Sum256([]byte(raw)))
	if !ok {
		return Identity{}, false
	}
	key, ok := keys.Key(t.by.kid)
	if !ok || !key.Equal(t.by.key) {
		return Identity{}, false
	}
	id := t.identity
	if now.Before(id.IssuedAt.Add(-Leeway)) || !now.Before(id.AcceptedUntil()) {
		return Identity{}, false
	}
	return id, true
}

// add caches a valid token.
func (k *known) add(raw string, by signedBy, id Identity) {
	k.tokens.Add(sha256.Sum256([]byte(raw)), verified{id, by})
}
