package recent

import "hash/maphash"

// Users remembers a number of each user that was met lately. It knows users by a hash of 64 bits under a key of its own: that any two
// of a million users are taken for each other happens in one of 37 million processes. Each user takes some 40 bytes. Callers keep it to
// one at a time.
type Users struct {
	seed    maphash.Seed
	numbers *Map[uint64, uint64]
}

// MaxUsers is how many users are remembered at least; twice as many at most.
const MaxUsers = 1 << 20

// NewUsers makes an empty memory.
func NewUsers() *Users {
	return &Users{seed: maphash.MakeSeed(), numbers: New[uint64, uint64](MaxUsers)}
}

// Get returns a user's number, 0 if none is known.
func (u *Users) Get(user string) uint64 {
	n, _ := u.numbers.Get(maphash.String(u.seed, user))
	return n
}

// Put sets a user's number.
func (u *Users) Put(user string, n uint64) { u.numbers.Put(maphash.String(u.seed, user), n) }
