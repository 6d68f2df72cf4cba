package load

import (
	"fmt"
	"maps"
	"sync"
)

// tally counts answers by request and status; errors are counted as such.
type tally struct {
	mu sync.Mutex
	m  map[string]int64
}

func newTally() *tally { return &tally{m: make(map[string]int64)} }

func (t *tally) count(what string, status int, err error) {
	key := statusKey{what, status}
	if err != nil {
		key.status = 0
	}
	t.add(key.String(), 1)
}

func (t *tally) add(key string, n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.m[key] += n
}

func (t *tally) counts() map[string]int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.m)
}

// statusKey is a kind of answer.
type statusKey struct {
	what   string
	status int
}

func (k statusKey) String() string {
	if k.status == 0 {
		return k.what + " error"
	}
	return fmt.Sprintf("%s %d", k.what, k.status)
}
