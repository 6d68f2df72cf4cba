// Package publickeytest makes public keys for tests that need no private ones: without searching long primes, which takes seconds.
package publickeytest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"sync"
)

// which is one of the moduli that were made: the n-th of its length.
type which struct {
	bits int
	n    int64
}

var moduli sync.Map // from which to *big.Int

// Modulus returns the n-th modulus of a length, the same in each call. It is a product of short primes, some 128 bits each, and nothing that
// publickey.Parse finds wrong. It may be called concurrently.
func Modulus(bits int, n int64) *big.Int {
	w := which{bits, n}
	if known, ok := moduli.Load(w); ok {
		return new(big.Int).Set(known.(*big.Int))
	}
	known, _ := moduli.LoadOrStore(w, product(bits))
	return new(big.Int).Set(known.(*big.Int))
}

func product(bits int) *big.Int {
	const length = 128
	most := big.NewInt(1)
	for bits-most.BitLen() > 2*length {
		most.Mul(most, Prime(length))
	}
	whole := new(big.Int)
	for more := 0; whole.BitLen() != bits; more = 1 - more {
		whole.Mul(most, Prime(bits-most.BitLen()+more))
	}
	return whole
}

// Prime returns a random prime.
func Prime(bits int) *big.Int {
	p, err := rand.Prime(rand.Reader, bits)
	if err != nil {
		panic(err) // the system has no randomness
	}
	return p
}

// PEM returns the n-th key of a length, with the usual exponent.
func PEM(bits int, n int64) string {
	der, err := x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: Modulus(bits, n), E: 65537})
	if err != nil {
		panic(err) // it is an RSA key
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}
