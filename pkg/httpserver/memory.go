package httpserver

import (
	"errors"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/api"
)

// errBusy means that the requests under way use all the memory they may.
var errBusy = errors.New("too many requests are under way")

var busyErrors = ErrorTable{{errBusy, func(error) *api.Error {
	e := api.New(http.StatusServiceUnavailable, api.CodeAtCapacity, "too much is under way at the moment")
	e.RetryAfter = RetryAfter(2 * time.Second)
	return e
}}}

const (
	// BodyCopies is how many copies of a body are in memory until its request is answered: raw, decoded, and on the way into the store.
	BodyCopies = 3
	// sharers is how many users it takes to exhaust a bound with requests that cannot be interrupted.
	sharers = 8
	// reserved is the part of a bound, one in so many, that is for small requests alone; smallest is how many of those it takes to fill the
	// reserve.
	reserved, smallest = 8, 32
	// roomWait is how long a user's only request waits for a place among those under way.
	roomWait = 3 * time.Second
	// leastRate is the least rate of bodies and answers, in bytes a second, that make nobody wait: a link of 256 kbit/s does twice that.
	leastRate = 16 << 10
)

// BodyBound is the bound of LimitBodies: the memory in bytes that all bodies take together, each of up to largest bytes. One user has an
// eighth of it, or room for one body.
func BodyBound(bytes, largest int64) admission.Config {
	return admission.Config{
		Size: bytes, UserMost: min(bytes, max(bytes/sharers, largest*BodyCopies)),
		Reserve: bytes / reserved, Small: bytes / reserved / smallest, LeastRate: leastRate,
	}
}

// RequestBound is the bound of LimitAtOnce: how many requests may be under way. One user has an eighth, and one more.
func RequestBound(requests int64) admission.Config {
	return admission.Config{Size: requests, UserMost: max(1, requests/sharers), LeastRate: leastRate}
}

// AnswerBound is the bound of LimitAnswers: the memory in bytes of all answers that clients are reading. One user has an eighth of it, or one
// answer.
func AnswerBound(bytes int64) admission.Config {
	c := BodyBound(bytes, 0)
	c.Reserve = 0 // every answer may be displaced
	return c
}

// LimitAnswers bounds the memory of what JSON answers on the routes it precedes, while clients read it. An answer makes room for others if its
// user holds more, or if its client is slow: then it is cut off. What finds no room is answered 503.
func LimitAnswers(unread *admission.Pool) gin.HandlerFunc {
	return func(c *gin.Context) { exchangeOf(c).unread = unread }
}

// HoldAnswer takes what an answer of so many bytes needs of an AnswerBound until it is released; Write gives it up if need be. It returns nil
// if there is no room. One huge answer always fits alone.
func HoldAnswer(c *gin.Context, unread *admission.Pool, size int64) *admission.Holding {
	held := unread.Take(HolderOf(c), min(size, unread.Size()))
	if held != nil {
		LoosenWrites(c, held)
	}
	return held
}

// LimitBodies bounds the memory that all request bodies take together on the routes it precedes. A body counts as it arrives, so that one
// that has not arrived yet blocks nobody; and one that arrives slowly makes room for others, if its user holds more. What finds no room is
// answered 503.
func LimitBodies(memory *admission.Pool) gin.HandlerFunc {
	return func(c *gin.Context) {
		body := &countedBody{ReadCloser: c.Request.Body, memory: memory, context: c}
		defer body.release()
		c.Request.Body = body
		c.Next()
	}
}

// countedBody takes memory for what is read of it. While it waits for more, it may be displaced.
type countedBody struct {
	io.ReadCloser
	memory  *admission.Pool
	context *gin.Context
	held    *admission.Holding
}

// Read implements io.Reader.
func (b *countedBody) Read(p []byte) (int, error) {
	if b.held != nil {
		b.held.Loosen(b)
	}
	n, err := b.ReadCloser.Read(p)
	if !b.take(int64(n)) {
		return n, errBusy
	}
	return n, err
}

// take counts n bytes that have arrived, and reports whether there was room.
func (b *countedBody) take(n int64) bool {
	if b.held == nil {
		if b.held = b.memory.Take(HolderOf(b.context), n*BodyCopies); b.held == nil {
			return false
		}
		b.held.Progress(n)
		return true
	}
	b.held.Progress(n)
	return b.held.Fix() && b.held.Grow(n*BodyCopies)
}

// Displaced implements admission.Owner: it ends the Read under way.
func (b *countedBody) Displaced() {
	// An error means that the connection has no deadlines (in a test, say).
	_ = http.NewResponseController(b.context.Writer).SetReadDeadline(past)
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

func (b *countedBody) release() {
	if b.held != nil {
		b.held.Release()
	}
}

// LimitAtOnce bounds how many requests are under way at once on the routes it precedes. While a client reads its answer, the request makes
// room for others if its user holds more, or if the client is slow. What finds no room, a user's only request within a few seconds, is answered
// 503.
func LimitAtOnce(room *admission.Pool) gin.HandlerFunc {
	return func(c *gin.Context) {
		place := room.Await(c.Request.Context(), HolderOf(c), 1, roomWait)
		if place == nil {
			busyErrors.Write(c, errBusy)
			return
		}
		defer place.Release()
		LoosenWrites(c, place)
		c.Next()
	}
}

// LoosenWrites lets a holding be displaced while the request's client reads what Write sends. The write then fails.
func LoosenWrites(c *gin.Context, held *admission.Holding) { exchangeOf(c).held = held }

// HolderOf returns on whose account a request is: its caller's, or, on a route without a token, its address's.
func HolderOf(c *gin.Context) admission.Holder {
	address, _ := netip.ParseAddr(c.ClientIP()) // an error leaves no address, which is one network
	who := admission.Holder{Network: admission.NetworkOf(address)}
	if e := exchangeIn(c.Request.Context()); e != nil && e.known {
		who.User = e.caller.Subject
	} else {
		who.User = admission.Address(address)
	}
	return who
}
