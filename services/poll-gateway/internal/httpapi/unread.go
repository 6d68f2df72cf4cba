package httpapi

import (
	"errors"

	"golang.org/x/sync/semaphore"

	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// errUnread means that clients leave as much unread as this node keeps for them.
var errUnread = errors.New("too many answers are unread")

// Unread bounds the bytes of answers that clients are taking, of all clients together: so many slow ones cannot have more
// memory than that. It is for answers that are given at once; those of polls that waited are bounded by their Lot.
type Unread struct {
	all  int64
	left *semaphore.Weighted
}

// NewUnread makes an Unread for some bytes.
func NewUnread(bytes int64) *Unread { return &Unread{bytes, semaphore.NewWeighted(bytes)} }

// reserve takes what an answer needs, or says that too little is left.
func (u *Unread) reserve(a gateway.Answer) (release func(), err error) {
	var size int64
	for _, o := range a.Objects {
		size += int64(len(o.JSON))
	}
	size = min(size, u.all) // an answer of a single huge message has to get through
	if !u.left.TryAcquire(size) {
		return nil, errUnread
	}
	return func() { u.left.Release(size) }, nil
}
