package mongo

import (
	"hash/maphash"
	"math"
	"sync"
)

// knownInboxes is of how many inboxes a process remembers the highest block that is marked: 36 MiB, which are taken as it fills.
// Of those beyond, a bulk insert asks in a query or some.
const knownInboxes = 1 << 20

// blocks remembers the highest block of each inbox that is known to be marked. Forgetting one costs a part of a query.
type blocks struct {
	most int
	seed maphash.Seed

	mu sync.Mutex
	// of is by the hash of the name: of a million, two have the same once in 37 million processes, and then a mark may be left out,
	// which is missed if the counter, and all entries from the block on, are lost.
	of map[uint64]uint32
}

func newBlocks(most int) *blocks {
	return &blocks{most: most, seed: maphash.MakeSeed(), of: map[uint64]uint32{}}
}

// get returns the highest block known; 0 if none is.
func (b *blocks) get(user string) block {
	hash := maphash.String(b.seed, user)
	b.mu.Lock()
	defer b.mu.Unlock()
	return block(b.of[hash])
}

// raise notes that a block is marked. When there is no room, any other inbox is forgotten.
func (b *blocks) raise(user string, marked block) {
	hash := maphash.String(b.seed, user)
	number := uint32(min(marked, math.MaxUint32))
	b.mu.Lock()
	defer b.mu.Unlock()
	known, there := b.of[hash]
	if !there && len(b.of) >= b.most {
		for other := range b.of {
			delete(b.of, other)
			break
		}
	}
	b.of[hash] = max(known, number)
}
