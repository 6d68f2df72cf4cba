package token

import (
	"crypto/ed25519"

	"github.com/sealpost/sealpost/pkg/api"
)

// SigningKeys are the keys of who issues tokens. They may be others at any time.
type SigningKeys interface {
	KeySet
	// Signing returns the key that signs now, and its id.
	Signing() (kid string, key ed25519.PrivateKey)
	// JWKS is the set to publish: Key knows those keys and no others.
	JWKS() api.JWKS
}

// Keyring is SigningKeys that do not change.
type Keyring struct {
	StaticKeySet

	kid     string
	signing ed25519.PrivateKey
}

var _ SigningKeys = (*Keyring)(nil)

// NewKeyring makes a Keyring of the key that signs, and of others whose tokens are good: those that signed before, and
// those that are to sign.
func NewKeyring(signing ed25519.PrivateKey, others ...ed25519.PublicKey) *Keyring {
	public := signing.Public().(ed25519.PublicKey)
	return &Keyring{StaticKeySet: NewKeySet(append([]ed25519.PublicKey{public}, others...)...), kid: KeyID(public), signing: signing}
}

// Signing implements SigningKeys.
func (k *Keyring) Signing() (kid string, key ed25519.PrivateKey) { return k.kid, k.signing }
