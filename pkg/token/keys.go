package token

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/sealpost/sealpost/pkg/api"
)

const (
	privateKeyBlock = "PRIVATE KEY"
	publicKeyBlock  = "PUBLIC KEY"
)

// KeyID names a public key: the SHA-256 thumbprint of its JWK (RFC 7638 and RFC 8037), in base64url.
func KeyID(key ed25519.PublicKey) string {
	// The members of a thumbprint, in the required order and without white space. None needs escaping.
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(key) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// StaticKeySet is a fixed KeySet: keys by their KeyID.
type StaticKeySet map[string]ed25519.PublicKey

// NewKeySet makes a set of keys: the current signing key and, while their tokens live, the former ones.
func NewKeySet(keys ...ed25519.PublicKey) StaticKeySet {
	set := make(StaticKeySet, len(keys))
	for _, key := range keys {
		set[KeyID(key)] = key
	}
	return set
}

// Key implements KeySet.
func (s StaticKeySet) Key(kid string) (ed25519.PublicKey, bool) {
	key, ok := s[kid]
	return key, ok
}

// JWKS is the set in JSON form, ordered by key id.
func (s StaticKeySet) JWKS() api.JWKS {
	set := api.JWKS{Keys: make([]api.JWK, 0, len(s))}
	for kid, key := range s {
		set.Keys = append(set.Keys, api.JWK{
			KeyType: "OKP", Curve: "Ed25519", KeyID: kid, Algorithm: "EdDSA", Use: "sig",
			X: base64.RawURLEncoding.EncodeToString(key),
		})
	}
	slices.SortFunc(set.Keys, func(a, b api.JWK) int { return cmp.Compare(a.KeyID, b.KeyID) })
	return set
}

// ParseJWKS reads a set that JWKS made. A key of another kind, or one whose id does not match, is an error.
func ParseJWKS(set api.JWKS) (StaticKeySet, error) {
	keys := make(StaticKeySet, len(set.Keys))
	for i, k := range set.Keys {
		x, err := base64.RawURLEncoding.Strict().DecodeString(k.X)
		if err != nil || len(x) != ed25519.PublicKeySize || k.KeyType != "OKP" || k.Curve != "Ed25519" {
			return nil, fmt.Errorf("token: key %d of the set is not an Ed25519 key", i)
		}
		if k.KeyID != KeyID(x) {
			return nil, fmt.Errorf("token: key %d of the set is not the one its id names", i)
		}
		keys[k.KeyID] = x
	}
	return keys, nil
}

// EncodePrivateKey writes a signing key as PEM (PKCS #8).
func EncodePrivateKey(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("token: encode the signing key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateKeyBlock, Bytes: der}), nil
}

// ParsePrivateKey reads a signing key: one PEM block PRIVATE KEY (PKCS #8) with an Ed25519 key, and nothing after it. Its errors do
// not reveal the content.
func ParsePrivateKey(text []byte) (ed25519.PrivateKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != privateKeyBlock || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("token: the signing key must be one PEM block PRIVATE KEY")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("token: the signing key is not in PKCS #8")
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("token: the signing key is not an Ed25519 key")
	}
	return key, nil
}

// ParsePublicKey reads a verification key: one PEM block PUBLIC KEY (PKIX) with an Ed25519 key, and nothing after it.
func ParsePublicKey(text []byte) (ed25519.PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != publicKeyBlock || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("token: the public key must be one PEM block PUBLIC KEY")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("token: the public key is not in PKIX form")
	}
	key, ok := parsed.(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("token: the public key is not an Ed25519 key")
	}
	return key, nil
}
