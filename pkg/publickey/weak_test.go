package publickey_test

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/publickey/publickeytest"
)

// nextPrime returns the next prime after n.
func nextPrime(n *big.Int) *big.Int {
	p := new(big.Int).Add(n, big.NewInt(2))
	for !p.ProbablyPrime(20) {
		p.Add(p, big.NewInt(2))
	}
	return p
}

// rocaPrime returns a prime of the form that CVE-2017-15361 makes: k·M + (65537^a mod M), with the product M of the first 71 primes.
func rocaPrime(t testing.TB, bits int) *big.Int {
	t.Helper()
	m := big.NewInt(1)
	for n, count := int64(2), 0; count < 71; n++ {
		if big.NewInt(n).ProbablyPrime(0) {
			m.Mul(m, big.NewInt(n))
			count++
		}
	}
	most := new(big.Int).Lsh(big.NewInt(1), uint(bits-m.BitLen()))
	for {
		k, err := rand.Int(rand.Reader, most)
		require.NoError(t, err)
		a, err := rand.Int(rand.Reader, m)
		require.NoError(t, err)
		k.SetBit(k, most.BitLen()-2, 1)
		p := new(big.Int).Mul(k, m)
		if p.Add(p, a.Exp(big.NewInt(65537), a, m)).ProbablyPrime(10) {
			return p
		}
	}
}

// TestAKeyThatAnybodyCanBreakIsRefused as it would be by a public CA.
func TestAKeyThatAnybodyCanBreakIsRefused(t *testing.T) {
	product := func(factors ...*big.Int) *big.Int {
		n := big.NewInt(1)
		for _, f := range factors {
			n.Mul(n, f)
		}
		return n
	}
	p := publickeytest.Prime(1025)
	for what, n := range map[string]*big.Int{
		"a factor below 752": product(big.NewInt(751), publickeytest.Prime(1100), publickeytest.Prime(1100)),
		"a power":            product(p, p),
		"a power of another": new(big.Int).Exp(publickeytest.Prime(700), big.NewInt(3), nil),
		"is a prime":         publickeytest.Prime(2048),
		"too close":          product(p, nextPrime(p)),
		"CVE-2017-15361":     product(rocaPrime(t, 1024), rocaPrime(t, 1030)),
	} {
		t.Run(what, func(t *testing.T) {
			_, err := publickey.Parse(block("PUBLIC KEY", derOf(t, n, 65537)))
			require.ErrorIs(t, err, publickey.ErrInvalid)
			require.ErrorContains(t, err, what)
		})
	}
	for _, e := range []int{3, 17, 65535} {
		_, err := publickey.Parse(block("PUBLIC KEY", derOf(t, product(p, publickeytest.Prime(1025)), e)))
		require.ErrorContains(t, err, "exponent", "%d", e)
	}
	_, err := publickey.Parse(block("PUBLIC KEY", derOf(t, product(p, publickeytest.Prime(1025)), 65539)))
	require.NoError(t, err)
}

// BenchmarkParse tells what it costs a stranger to have a key checked, and us to check it.
func BenchmarkParse(b *testing.B) {
	for _, bits := range []int{2048, 4096, 8192} {
		n := new(big.Int).Mul(publickeytest.Prime(bits/2), publickeytest.Prime(bits/2))
		text := block("PUBLIC KEY", derOf(b, n, 65537))
		b.Run(fmt.Sprint(bits), func(b *testing.B) {
			for b.Loop() {
				_, err := publickey.Parse(text)
				require.NoError(b, err)
			}
		})
	}
}
