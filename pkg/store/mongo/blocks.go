package mongo

import (
	"hash/maphash"
	"math"
	"sync"
)

// knownInboxes is for how many inboxes a process remembers the highest marked block: 36 MiB, allocated as it fills. For further inboxes, a
// bulk insert needs one or more queries.
const knownInboxes = 1 << 20

// blocks remembers the highest block of each inbox that is known to be marked. Forgetting one costs part of a query.
type blocks struct {
	most int
	seed maphash.Seed

	mu sync.Mutex
	// of is keyed by a hash of the name. Among a million names, two share a hash in one of 37 million processes. Then a mark may be left
	// out, which matters if the counter and all entries from that block on are lost.
	of map[uint64]uint32
}

func newBlocks(most int) *blocks {
	return &blocks{most: most, seed: maphash.MakeSeed(), of: map[uint64]uint32{}}
}

// get returns the highest known block, or 0.
func (b *blocks) get(user string) block {
	hash := maphash.String(b.seed, user)
	b.mu.Lock()
	defer b.mu.Unlock()
	return block(b.of[hash])
}

// raise records that a block is marked. If there is no room, it forgets any other inbox.
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
