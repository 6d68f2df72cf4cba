// Package publickey checks the public keys that users submit: what it accepts is safe to hand to any client.
package publickey

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/sealpost/sealpost/pkg/api"
)

const (
	// MinBits is the minimum length of the modulus.
	MinBits = 2048
	// MaxBits is its maximum length.
	MaxBits = 8192
	// MinExponent is the minimum exponent.
	MinExponent = 65537

	blockType = "PUBLIC KEY"
	// blanks is the white space that may surround the block.
	blanks = " \t\r\n"
)

var (
	// ErrInvalid means that a text is not an acceptable public key. The errors that wrap it say why, for a person, and quote
	// nothing of the text.
	ErrInvalid = errors.New("invalid public key")
	// ErrPrivateKey means that the text holds a private key, which its owner must regard as disclosed. It wraps ErrInvalid.
	ErrPrivateKey = fmt.Errorf("%w: the text contains a private key; replace that key, it is not private any more", ErrInvalid)
)

// Key is an acceptable public key.
type Key struct {
	// PEM is the key's canonical text: one block in lines of 64 characters, with a final line end.
	PEM string
	// Fingerprint is the hex SHA-256 of the SPKI DER.
	Fingerprint string
	// Bits is the length of the modulus.
	Bits int
}

// Parse reads exactly one PEM block PUBLIC KEY (SPKI, RFC 5280) with an RSA key of MinBits to MaxBits, surrounded by nothing but
// white space, in at most api.MaxPublicKeyBytes. Its errors wrap ErrInvalid.
func Parse(text string) (Key, error) {
	der, err := decode(text)
	if err != nil {
		return Key{}, err
	}
	key, err := parse(der)
	if err != nil {
		return Key{}, err
	}
	if err := check(key); err != nil {
		return Key{}, err
	}
	sum := sha256.Sum256(der)
	return Key{
		PEM:         string(pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der})),
		Fingerprint: hex.EncodeToString(sum[:]),
		Bits:        key.N.BitLen(),
	}, nil
}

// decode extracts the DER from the PEM.
func decode(text string) ([]byte, error) {
	switch {
	case len(text) > api.MaxPublicKeyBytes:
		return nil, fmt.Errorf("%w: it is longer than %d bytes", ErrInvalid, api.MaxPublicKeyBytes)
	case strings.Contains(strings.ToUpper(text), "PRIVATE KEY"):
		return nil, ErrPrivateKey
	}
	text = strings.Trim(text, blanks)
	// The decoder skips everything before a block that it can read: so there must be exactly one beginning, at the start.
	if !strings.HasPrefix(text, "-----BEGIN "+blockType+"-----") || strings.Count(text, "-----BEGIN") != 1 {
		return nil, fmt.Errorf("%w: it must be exactly one PEM block %s", ErrInvalid, blockType)
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != blockType || len(block.Headers) > 0 || len(rest) > 0 {
		return nil, fmt.Errorf("%w: it must be exactly one well-formed PEM block %s without headers", ErrInvalid, blockType)
	}
	return block.Bytes, nil
}

// parse reads an RSA key in its only valid encoding: with several encodings it would have several fingerprints.
func parse(der []byte) (*rsa.PublicKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: the block does not hold a public key in SPKI form", ErrInvalid)
	}
	key, ok := parsed.(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%w: only RSA keys are used here", ErrInvalid)
	}
	if again, err := x509.MarshalPKIXPublicKey(key); err != nil || !bytes.Equal(again, der) {
		return nil, fmt.Errorf("%w: its DER encoding is not the canonical one", ErrInvalid)
	}
	return key, nil
}

// check checks modulus and exponent. Many libraries refuse exponents above 31 bits; even numbers are not RSA keys; small exponents have made
// many attacks possible (RFC 8017 allows them, FIPS 186-5 does not).
func check(key *rsa.PublicKey) error {
	switch bits := key.N.BitLen(); {
	case bits < MinBits || bits > MaxBits:
		return fmt.Errorf("%w: it has %d bits, and must have %d to %d", ErrInvalid, bits, MinBits, MaxBits)
	case key.N.Bit(0) == 0:
		return fmt.Errorf("%w: its modulus is even", ErrInvalid)
	case key.E < MinExponent || key.E > math.MaxInt32 || key.E%2 == 0:
		return fmt.Errorf("%w: its exponent must be odd, at least %d and of at most 31 bits; %d is usual", ErrInvalid, MinExponent, MinExponent)
	}
	if why := weakness(key.N); why != "" {
		return fmt.Errorf("%w: %s", ErrInvalid, why)
	}
	return nil
}
