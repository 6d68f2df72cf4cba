package httpapi

import (
	"errors"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// errUnread means that clients have left as many unread bytes as this node buffers.
var errUnread = errors.New("too many answers are unread")

// Unread limits the bytes of answers that clients are reading, over all clients and per user: slow clients together use no more memory
// than that, and no user takes all of it. It is for answers that are given at once; the Lot limits those of parked polls.
type Unread struct{ left *admission.Pool }

// UnreadBound is the bound of an Unread of that many bytes.
func UnreadBound(bytes int64) admission.Config {
	c := httpserver.BodyBound(bytes, 0)
	c.Reserve = 0 // every answer may be displaced
	return c
}

// NewUnread makes an Unread of a pool with an UnreadBound.
func NewUnread(pool *admission.Pool) *Unread { return &Unread{pool} }

// reserve reserves the bytes of an answer to a request, which Write gives up if need be, or returns errUnread.
func (u *Unread) reserve(c *gin.Context, a gateway.Answer) (release func(), err error) {
	held, err := u.take(httpserver.HolderOf(c), a)
	if err != nil {
		return nil, err
	}
	httpserver.LoosenWrites(c, held)
	return held.Release, nil
}

// take reserves the bytes of an answer, or returns errUnread.
func (u *Unread) take(who admission.Holder, a gateway.Answer) (*admission.Holding, error) {
	var size int64
	for _, o := range a.Objects {
		size += int64(o.JSON.Len())
	}
	size = min(size, u.left.Size()) // one answer with a huge message must always fit
	held := u.left.Take(who, size)
	if held == nil {
		return nil, errUnread
	}
	return held, nil
}

// Holder implements parking.Handler.
func (l *parkedPoll) Holder() admission.Holder { return l.parked.Holder() }

// Holder implements parking.Handler.
func (h *parkedStream) Holder() admission.Holder { return h.parked.Holder() }
