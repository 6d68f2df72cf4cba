package httpapi

import (
	"errors"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/lru"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// errUnread means that clients have left as many unread bytes as this node buffers.
var errUnread = errors.New("too many answers are unread")

// Unread limits the bytes of answers that clients are reading, over all clients and per user: slow clients together use no more memory
// than that, and no user takes all of it. It is for answers that are given at once; the Lot limits those of parked polls.
type Unread struct {
	left *admission.Pool
	// refused are the sessions that were told to come back later, most recent first.
	refused *lru.Cache[sessionOf, refusal]
}

// sessionOf is a session of a user.
type sessionOf struct{ user, session string }

// refusal is an answer for which there was no room.
type refusal struct {
	size  int64
	until time.Time
}

const (
	// mostRefused is how many sessions are remembered that were refused.
	mostRefused = 4096
	// comeBack is when a session that was refused may come back.
	comeBack = 2 * time.Second
)

// NewUnread makes an Unread of a pool with an httpserver.AnswerBound.
func NewUnread(pool *admission.Pool) *Unread {
	return &Unread{left: pool, refused: lru.New[sessionOf, refusal](mostRefused)}
}

// expect returns errUnread for a session that was refused before and comes back too early, while there is still no room for what it was
// refused: its answer would be read from the store for nothing. maxBytes is the most that its client takes; 0 for any.
func (u *Unread) expect(c *gin.Context, maxBytes int64) error {
	key := sessionKey(c)
	before, there := u.refused.Get(key)
	switch {
	case !there:
		return nil
	case !time.Now().Before(before.until):
		u.refused.Remove(key)
		return nil
	}
	size := before.size
	if maxBytes > 0 {
		size = min(size, maxBytes)
	}
	if u.left.HasRoom(httpserver.HolderOf(c), size) {
		return nil
	}
	return errUnread
}

func sessionKey(c *gin.Context) sessionOf {
	caller := httpserver.Caller(c)
	return sessionOf{caller.Subject, caller.SessionID}
}

// reserve reserves the bytes of an answer to a request, which Write gives up if need be, or returns errUnread.
func (u *Unread) reserve(c *gin.Context, a gateway.Answer) (release func(), err error) {
	size := u.sizeOf(a)
	held := httpserver.HoldAnswer(c, u.left, size)
	if held == nil {
		u.refused.Add(sessionKey(c), refusal{size, time.Now().Add(comeBack)})
		return nil, errUnread
	}
	return held.Release, nil
}

// sizeOf returns how many bytes an answer counts as.
func (u *Unread) sizeOf(a gateway.Answer) (size int64) {
	for _, o := range a.Objects {
		size += int64(o.JSON.Len())
	}
	return min(size, u.left.Size()) // one answer with a huge message must always fit
}

// take reserves so many bytes, or returns errUnread.
func (u *Unread) take(who admission.Holder, size int64) (*admission.Holding, error) {
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
