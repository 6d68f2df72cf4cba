// Package serverkey makes and reads the RSA key pair of a deployment. Clients are given the public half.
package serverkey

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// Bits is the length of the modulus that clients expect.
const Bits = 4096

// New makes a key pair as PEM (PKCS #8).
func New() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, Bits)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// Public returns the public half of a key pair, as one PEM block PUBLIC KEY (SPKI). Its errors do not reveal the content.
func Public(text []byte) (string, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return "", errors.New("the server key holds no PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return "", errors.New("the server key is not in PKCS #8")
	}
	private, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return "", errors.New("the server key is not an RSA key")
	}
	if private.N.BitLen() < Bits {
		return "", fmt.Errorf("the server key has %d bits, and must have at least %d", private.N.BitLen(), Bits)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}
