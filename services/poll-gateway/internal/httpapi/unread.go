package httpapi

import (
	"errors"

	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// errUnread means that clients leave as much unread as this node keeps for them.
var errUnread = errors.New("too many answers are unread")

// Unread bounds the bytes of answers that clients are taking, of all clients together and of each user: so many slow ones
// cannot have more memory than that, and nobody takes it all. It is for answers that are given at once; those of polls that waited
// are bounded by their Lot.
type Unread struct {
	all  int64
	left *httpserver.Budget
}

// NewUnread makes an Unread for some bytes.
func NewUnread(bytes int64) *Unread { return &Unread{bytes, httpserver.NewBudget(bytes, 0)} }

// reserve takes what an answer to a user needs, or says that too little is left.
func (u *Unread) reserve(user string, a gateway.Answer) (release func(), err error) {
	var size int64
	for _, o := range a.Objects {
		size += int64(o.JSON.Len())
	}
	size = min(size, u.all) // an answer of a single huge message has to get through
	if !u.left.TryTake(user, size) {
		return nil, errUnread
	}
	return func() { u.left.Give(user, size) }, nil
}
