package recent

import "hash/maphash"

// Users keeps a number for each recently used user. Its keys are 64-bit hashes of the names under a random seed: two of a million users
// collide in one of 37 million processes. Each user takes some 40 bytes. Not safe for concurrent use.
type Users struct {
	seed    maphash.Seed
	numbers *Map[uint64, uint64]
}

// MaxUsers is how many users are kept at least; at most twice as many.
const MaxUsers = 1 << 20

// NewUsers makes an empty Users.
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
