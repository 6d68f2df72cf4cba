package envelope

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/sealpost/sealpost/pkg/api"
)

// DefaultKeyBits is the default key size of GenerateKey.
const DefaultKeyBits = 4096

// ErrNotAKey means that a text is not the PEM of an RSA key.
var ErrNotAKey = errors.New("not the PEM of an RSA key")

// GenerateKey makes a private key with the given number of bits; 0 means DefaultKeyBits.
func GenerateKey(bits int) (*rsa.PrivateKey, error) {
	if bits == 0 {
		bits = DefaultKeyBits
	}
	return rsa.GenerateKey(rand.Reader, bits)
}

// EncodePublicKey returns the PEM (SPKI) that a server accepts.
func EncodePublicKey(key *rsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

// ParsePublicKey reads what EncodePublicKey writes.
func ParsePublicKey(text string) (*rsa.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, ErrNotAKey
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotAKey, err)
	}
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return nil, ErrNotAKey
	}
	return public, nil
}

// EncodePrivateKey returns the PEM (PKCS #8) that Web Crypto exports and imports. It is not encrypted.
func EncodePrivateKey(key *rsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), nil
}

// ParsePrivateKey reads what EncodePrivateKey writes.
func ParsePrivateKey(text string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, ErrNotAKey
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, ErrNotAKey // the cause might quote the key
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return nil, ErrNotAKey
	}
	return private, nil
}

// Fingerprint is the hex SHA-256 of the key's SPKI DER, as the server computes it.
func Fingerprint(key *rsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

const (
	// safetyIterations makes it expensive to search for a key with a similar number.
	safetyIterations = 5200
	safetyGroups     = 6
)

// SafetyNumber returns 60 digits, the same for both users, who compare them, by voice say, to be sure that the server gave each the
// other's true key. It is computed like Signal's numeric fingerprint (libsignal, NumericFingerprintGenerator, version 0): for each
// user 30 digits of an iterated SHA-512 over name and key, the lower half first.
func SafetyNumber(nameA string, keyA *rsa.PublicKey, nameB string, keyB *rsa.PublicKey) (string, error) {
	a, err := safetyHalf(nameA, keyA)
	if err != nil {
		return "", err
	}
	b, err := safetyHalf(nameB, keyB)
	if err != nil {
		return "", err
	}
	if a > b {
		a, b = b, a
	}
	return a + " " + b, nil
}

func safetyHalf(name string, key *rsa.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return "", err
	}
	// Names are case-insensitive, so their numbers must be.
	hash := append(append([]byte{0, 0}, der...), api.FoldUsername(name)...)
	for range safetyIterations {
		sum := sha512.Sum512(append(hash, der...))
		hash = sum[:]
	}
	groups := make([]string, safetyGroups)
	for i := range groups {
		var chunk [8]byte
		copy(chunk[3:], hash[5*i:5*i+5])
		groups[i] = fmt.Sprintf("%05d", binary.BigEndian.Uint64(chunk[:])%100000)
	}
	return strings.Join(groups, " "), nil
}
