package httpserver

import (
	"sync"

	"github.com/gin-gonic/gin"
)

// sharers is how many users it takes to exhaust a Budget.
const sharers = 8

// Budget bounds what all requests under way take together, in whatever unit, and what those of one user take of it, so that no user
// can exhaust it alone. Its methods may be called concurrently.
type Budget struct {
	all, share int64

	mu    sync.Mutex
	taken int64
	by    map[string]int64
}

// NewBudget makes a Budget of all. One user may take an eighth of it, or least if that is more.
func NewBudget(all, least int64) *Budget {
	return &Budget{all: all, share: min(all, max(all/sharers, least)), by: map[string]int64{}}
}

// TryTake takes n for a user if there is room. A user that holds nothing is not refused for the size of n alone, unless n exceeds
// the whole budget.
func (b *Budget) TryTake(user string, n int64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if has := b.by[user]; b.taken+n > b.all || (has > 0 && has+n > b.share) {
		return false
	}
	b.taken += n
	b.by[user] += n
	return true
}

// Give returns n of a user.
func (b *Budget) Give(user string, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken -= n
	if b.by[user] -= n; b.by[user] == 0 {
		delete(b.by, user)
	}
}

// subject returns the caller of a request; empty if its route requires no token.
func subject(c *gin.Context) string {
	if e := exchangeIn(c.Request.Context()); e != nil {
		return e.caller.Subject
	}
	return ""
}
