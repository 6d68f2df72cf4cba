package simulation

import "time"

// rng is a random stream that a seed decides. Each caller has its own, seeded with its identity and a call counter: so one call more or
// less somewhere does not change what all the others draw.
type rng uint64

// mix combines numbers into one (splitmix64's finalizer over a running sum).
func mix(parts ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, p := range parts {
		h = scramble(h ^ scramble(p+0x9e3779b97f4a7c15))
	}
	return h
}

func scramble(z uint64) uint64 {
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb
	return z ^ (z >> 31)
}

// textHash is FNV-1a.
func textHash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// rngOf seeds a generator with the seed and the parts.
func rngOf(seed uint64, what string, parts ...uint64) *rng {
	d := rng(mix(append([]uint64{seed, textHash(what)}, parts...)...))
	return &d
}

func (d *rng) next() uint64 {
	*d += 0x9e3779b97f4a7c15
	return scramble(uint64(*d))
}

// float is in [0, 1).
func (d *rng) float() float64 { return float64(d.next()>>11) / (1 << 53) }

// hit is true with probability p.
func (d *rng) hit(p float64) bool { return d.float() < p }

// below is in [0, n).
func (d *rng) below(n int) int { return int(d.next() % uint64(n)) }

// among is in [low, high].
func (d *rng) among(low, high int) int { return low + d.below(high-low+1) }

// between is in [low, high).
func (d *rng) between(low, high time.Duration) time.Duration {
	return low + time.Duration(d.float()*float64(high-low))
}

// shuffle puts n things in random order.
func (d *rng) shuffle(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, d.below(i+1))
	}
}

// pick returns a random element of list.
func pick[T any](d *rng, list []T) T { return list[d.below(len(list))] }
