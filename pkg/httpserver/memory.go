package httpserver

import (
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
)

// errBusy means that the requests under way use all the memory they may.
var errBusy = errors.New("too many requests are under way")

var busyErrors = ErrorTable{{errBusy, func(error) *api.Error {
	e := api.New(http.StatusServiceUnavailable, api.CodeAtCapacity, "too much is under way at the moment")
	e.RetryAfter = RetryAfter(2 * time.Second)
	return e
}}}

// BodyCopies is how many copies of a body are in memory until its request is answered: raw, decoded, and on the way into the store.
const BodyCopies = 3

// LimitBodies bounds the memory in bytes that all request bodies take together on the routes it precedes, and those of one user to
// an eighth of it; each body has up to largest bytes. A body counts as it arrives, so that a body that has not arrived yet blocks
// nobody. What does not fit is answered 503.
func LimitBodies(bytes, largest int64) gin.HandlerFunc {
	memory := NewBudget(bytes, largest*BodyCopies)
	return func(c *gin.Context) {
		body := &countedBody{ReadCloser: c.Request.Body, memory: memory, user: subject(c)}
		defer body.release()
		c.Request.Body = body
		c.Next()
	}
}

// countedBody takes memory for what is read of it.
type countedBody struct {
	io.ReadCloser
	memory *Budget
	user   string
	taken  int64
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	size := int64(n) * BodyCopies
	if !b.memory.TryTake(b.user, size) {
		return n, errBusy
	}
	b.taken += size
	return n, err
}

func (b *countedBody) release() { b.memory.Give(b.user, b.taken) }

// LimitAtOnce bounds how many requests are under way at once on the routes it precedes, and those of one user to an eighth. Further
// requests are answered 503.
func LimitAtOnce(requests int64) gin.HandlerFunc {
	room := NewBudget(requests, 1)
	return func(c *gin.Context) {
		user := subject(c)
		if !room.TryTake(user, 1) {
			busyErrors.Write(c, errBusy)
			return
		}
		defer room.Give(user, 1)
		c.Next()
	}
}
