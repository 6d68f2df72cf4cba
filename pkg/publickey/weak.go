package publickey

import (
	"fmt"
	"math/big"
	"slices"
	"sync"
)

const (
	// smallFactor bounds the factors that are looked for: those below 752, as the CA/Browser Forum's Baseline Requirements (6.1.6) ask of a
	// certificate's key.
	smallFactor = 752
	// fermatRounds finds factors that are close to each other (Böck, "Fermat Factorization in the Wild", 2023), as many as public CAs try.
	fermatRounds = 100
)

// rocaPrimes are small primes modulo which the moduli of CVE-2017-15361 are powers of 65537 (Nemec et al., "The Return of Coppersmith's
// Attack", CCS 2017). One in a hundred million other moduli is so as well.
var rocaPrimes = []int64{11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157}

// weakness says why anybody can factor a modulus, or why it has no factors; it is empty if nothing is found. The modulus is odd.
func weakness(n *big.Int) string {
	switch {
	case new(big.Int).GCD(nil, nil, n, primorial()).BitLen() > 1:
		return fmt.Sprintf("its modulus has a factor below %d", smallFactor)
	case isPower(n):
		return "its modulus is a power of another number"
	case isCloseProduct(n):
		return "the factors of its modulus are too close to each other"
	case isROCA(n):
		return "it was made by a library whose keys can be broken (CVE-2017-15361)"
	case n.ProbablyPrime(0):
		return "its modulus is a prime"
	}
	return ""
}

// primesBelow returns the odd primes below a bound.
func primesBelow(bound int64) (list []int64) {
	for n := int64(3); n < bound; n += 2 {
		if isPrime(n) {
			list = append(list, n)
		}
	}
	return list
}

func isPrime(n int64) bool { return big.NewInt(n).ProbablyPrime(0) } // exact for numbers of this size

// primorial is the product of the odd primes below smallFactor.
var primorial = sync.OnceValue(func() *big.Int {
	product := big.NewInt(1)
	for _, p := range primesBelow(smallFactor) {
		product.Mul(product, big.NewInt(p))
	}
	return product
})

// exponents are the odd primes k for which a modulus can be the k-th power of a number that is not below smallFactor.
var exponents = sync.OnceValue(func() []int64 {
	const smallBits = 9 // smallFactor has ten
	return primesBelow(MaxBits/smallBits + 1)
})

// isPower reports whether n is the k-th power of a whole number, for a prime k, and so for any k above 1.
func isPower(n *big.Int) bool {
	return isSquare(n) || slices.ContainsFunc(exponents(), func(k int64) bool {
		return mayBePower(n, k) && new(big.Int).Exp(root(n, k), big.NewInt(k), nil).Cmp(n) == 0
	})
}

// mayBePower tells most numbers that are no k-th power at little cost: modulo a prime q = 1 + jk only one in k is one, and its (q-1)/k-th power
// is 1.
func mayBePower(n *big.Int, k int64) bool {
	const enough = 4
	q := int64(1)
	for range enough {
		for q += 2 * k; !isPrime(q); {
			q += 2 * k
		}
		modulus := big.NewInt(q)
		residue := new(big.Int).Mod(n, modulus)
		if residue.Sign() != 0 && residue.Exp(residue, big.NewInt((q-1)/k), modulus).Cmp(big.NewInt(1)) != 0 {
			return false
		}
	}
	return true
}

// root returns the k-th root of n, rounded down, by Newton's method.
func root(n *big.Int, k int64) *big.Int {
	exponent, less := big.NewInt(k), big.NewInt(k-1)
	x := new(big.Int).Lsh(big.NewInt(1), uint(int64(n.BitLen())/k+1)) //nolint:gosec // positive, and above the root
	for {
		// y = ((k-1)x + n/x^(k-1)) / k
		y := new(big.Int).Div(n, new(big.Int).Exp(x, less, nil))
		y.Add(y, new(big.Int).Mul(less, x)).Div(y, exponent)
		if y.Cmp(x) >= 0 {
			return x
		}
		x = y
	}
}

// isSquare reports whether n is a square. Few other numbers are one modulo 64 and modulo small primes.
func isSquare(n *big.Int) bool {
	const residues = 1<<0 | 1<<1 | 1<<4 | 1<<9 | 1<<16 | 1<<17 | 1<<25 | 1<<33 | 1<<36 | 1<<41 | 1<<49 | 1<<57 // modulo 64
	if n.Sign() != 0 && residues>>(n.Bits()[0]&63)&1 == 0 {
		return false
	}
	for _, p := range []int64{3, 5, 7, 11, 13, 17, 19, 23} {
		if big.Jacobi(new(big.Int).Mod(n, big.NewInt(p)), big.NewInt(p)) < 0 {
			return false
		}
	}
	r := new(big.Int).Sqrt(n)
	return r.Mul(r, r).Cmp(n) == 0
}

// isCloseProduct tries Fermat's method: n = a² - b² = (a-b)(a+b).
func isCloseProduct(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	one := big.NewInt(1)
	for range fermatRounds {
		a.Add(a, one)
		b := new(big.Int).Mul(a, a)
		if isSquare(b.Sub(b, n)) {
			return true
		}
	}
	return false
}

func isROCA(n *big.Int) bool {
	for _, p := range rocaPrimes {
		residue := new(big.Int).Mod(n, big.NewInt(p)).Int64()
		found := false
		for power := int64(1); ; {
			found = found || power == residue
			if power = power * (65537 % p) % p; power == 1 {
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}
