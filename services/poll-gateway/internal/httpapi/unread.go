package httpapi

import (
	"errors"

	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// errUnread means that clients have left as many unread bytes as this node buffers.
var errUnread = errors.New("too many answers are unread")

// Unread limits the bytes of answers that clients are reading, over all clients and per user: slow clients together use no more memory
// than that, and no user takes all of it. It is for answers that are given at once; the Lot limits those of parked polls.
type Unread struct {
	all  int64
	left *httpserver.Budget
}

// NewUnread makes an Unread for that many bytes.
func NewUnread(bytes int64) *Unread { return &Unread{bytes, httpserver.NewBudget(bytes, 0)} }

// reserve reserves the bytes of an answer to a user, or returns errUnread.
func (u *Unread) reserve(user string, a gateway.Answer) (release func(), err error) {
	var size int64
	for _, o := range a.Objects {
		size += int64(o.JSON.Len())
	}
	size = min(size, u.all) // one answer with a huge message must always fit
	if !u.left.TryTake(user, size) {
		return nil, errUnread
	}
	return func() { u.left.Give(user, size) }, nil
}
