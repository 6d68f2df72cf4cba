package token

import (
	"crypto/sha256"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// knownTokens is how many good tokens a Verifier remembers, so that the signature of each is checked once and not with
// every request. One takes some 400 bytes.
const knownTokens = 1 << 15

// known remembers tokens that were found good, by their SHA-256: the tokens themselves are secrets, and in one place less.
type known struct {
	tokens *lru.Cache[[sha256.Size]byte, verified]
}

type verified struct {
	identity Identity
	by       signedBy
}

func newKnown() *known {
	tokens, err := lru.New[[sha256.Size]byte, verified](knownTokens)
	if err != nil {
		panic(err) // only a size below 1 is an error
	}
	return &known{tokens}
}

// get returns what a token says that was good before and still is: its time is not over, and its key is among those that
// verify.
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

// add remembers a token that was found good.
func (k *known) add(raw string, by signedBy, id Identity) {
	k.tokens.Add(sha256.Sum256([]byte(raw)), verified{id, by})
}
