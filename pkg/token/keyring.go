package token

import (
	"crypto/ed25519"

	"github.com/sealpost/sealpost/pkg/api"
)

// SigningKeys are a token issuer's keys. They may change at any time.
type SigningKeys interface {
	KeySet
	// Signing returns the key that signs now, and its id.
	Signing() (kid string, key ed25519.PrivateKey)
	// JWKS is the set to publish: exactly the keys that Key knows.
	JWKS() api.JWKS
}

// Keyring is a fixed set of SigningKeys.
type Keyring struct {
	StaticKeySet

	kid     string
	signing ed25519.PrivateKey
}

var _ SigningKeys = (*Keyring)(nil)

// NewKeyring makes a Keyring of the signing key and of other keys whose tokens are valid: former and future signing keys.
func NewKeyring(signing ed25519.PrivateKey, others ...ed25519.PublicKey) *Keyring {
	public := signing.Public().(ed25519.PublicKey)
	return &Keyring{StaticKeySet: NewKeySet(append([]ed25519.PublicKey{public}, others...)...), kid: KeyID(public), signing: signing}
}

// Signing implements SigningKeys.
func (k *Keyring) Signing() (kid string, key ed25519.PrivateKey) { return k.kid, k.signing }
