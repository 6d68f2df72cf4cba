package httpapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/parking"
)

// parkedPoll is a poll that waits without a goroutine. It is the parking.Handler of its connection and the gateway.Observer of its poll. The
// gateway decides which of several outcomes comes first; later ones have no effect (see gateway.Parked). What follows is one path: answer,
// write, end.
type parkedPoll struct {
	api     *API
	request httpserver.Detached
	parked  *gateway.Parked
	spot    *parking.Spot
	waiting

	result *result
}

// result is the outcome of a poll, and the state of its answer.
type result struct {
	answer    gateway.Answer
	err       error
	status    int
	size      int
	keepAlive bool
	// spans are the spans of the deliveries.
	spans deliveries
	// written passes the result of the write to the goroutine that waits for it; nil if none does.
	written chan error
}

// parkPoll parks a poll, and reports whether it could. If so, the handler must not use the request any more.
func (a *API) parkPoll(c *gin.Context, p *gateway.Parked, w waiting) bool {
	if a.Lot == nil || time.Until(p.Until()) < a.LeastWait {
		return false
	}
	l := &parkedPoll{api: a, parked: p, waiting: w}
	var err error
	l.spot, err = a.Lot.Take(c.Request, c.Writer.Hijack, l)
	if errors.Is(err, parking.ErrUnable) {
		return false
	}
	l.request = httpserver.Detach(c)
	if err != nil {
		p.Withdraw()
		p.Leave()
		l.request.Done(httpserver.StatusClientGone, 0)
		return true
	}
	// First, as Watch may bring the outcome: a Wait that came between its write and its release would make the Spot wait once more, and the
	// release would close the connection.
	l.spot.Wait(time.Until(p.Until()))
	p.Watch(l)
	return true
}

// Completed implements gateway.Observer.
func (l *parkedPoll) Completed(answer gateway.Answer, err error) {
	fit(&answer, l.maxBytes)
	l.result = &result{answer: answer, err: err, spans: l.api.delivering(answer, l.request.Trace())}
	l.api.workers.do(l.answer)
}

// Expired implements parking.Handler.
func (l *parkedPoll) Expired() { l.parked.Expire() }

// Gone implements parking.Handler.
func (l *parkedPoll) Gone() {
	if l.parked.Withdraw() {
		l.parked.Leave()
		l.spot.Release(false)
		l.request.Done(httpserver.StatusClientGone, 0)
	}
}

// answer writes the answer to a completed poll.
func (l *parkedPoll) answer() {
	l.parked.Leave()
	r := l.result
	switch {
	case r.err != nil:
		l.fail(r.err)
	case l.session != nil && (r.answer.Reset || r.answer.Position != l.session.seen.Position):
		l.api.workers.start(l.answerSession)
	case r.answer.Reset:
		l.api.workers.start(l.answerReset)
	default:
		l.write()
	}
}

// write sends the answer without moving any cursor.
func (l *parkedPoll) write() {
	a := l.result.answer
	switch {
	case l.session != nil:
		l.send(legacyFrame(a, l.epoch), "Set-Cookie", l.session.cookie(a))
	case a.Shared != nil:
		l.send(a.Shared.Text(gateway.PollForm, l.epoch, func() []byte { return frame(a, l.epoch) }))
	default:
		l.send(frame(a, l.epoch))
	}
}

// send sends a body. headers are names and values.
func (l *parkedPoll) send(body []byte, headers ...string) {
	r := l.result
	if len(r.answer.Objects) == 0 {
		r.spans = nil // another poll of the session delivers the messages
	}
	r.keepAlive = l.request.KeepAlive() && !r.answer.Close
	r.status, r.size = http.StatusOK, len(body)
	r.answer.Objects, r.answer.Skipped, r.answer.Shared = nil, nil, nil // the body has them
	l.spot.WriteParts(l.request.OK(len(body), r.keepAlive, headers...), body)
}

func (l *parkedPoll) fail(err error) {
	r := l.result
	r.spans.end(err)
	r.spans = nil
	r.keepAlive = l.request.KeepAlive()
	var response []byte
	r.status, response = l.request.Failure(l.api.errors(), err, r.keepAlive)
	r.size = len(response)
	l.spot.Write(response)
}

// Written implements parking.Handler.
func (l *parkedPoll) Written(err error) {
	if l.result.written != nil {
		l.result.written <- err
		return
	}
	l.end(err)
}

// end gives the connection back. A client that has gone polls again from the same cursor: there is nothing to undo.
func (l *parkedPoll) end(err error) {
	r := l.result
	r.spans.end(err)
	l.request.Done(r.status, r.size)
	l.spot.Release(r.keepAlive && err == nil)
}

// answerReset tells the client that the epoch has changed. It has to ask for the new one.
func (l *parkedPoll) answerReset() {
	ctx, cancel := context.WithTimeout(context.Background(), advanceTimeout)
	defer cancel()
	epoch, err := l.api.Gateway.Epochs().Current(ctx)
	if err != nil {
		l.fail(err)
		return
	}
	l.epoch = epoch
	l.write()
}

// answerSession answers a client that keeps no cursor, and moves its session cursor.
func (l *parkedPoll) answerSession() {
	ctx, cancel := context.WithTimeout(context.Background(), advanceTimeout)
	defer cancel()
	if l.result.answer.Reset { // the session polls again, from the beginning
		if err := l.api.resetSession(ctx, l.session); err != nil {
			l.fail(err)
			return
		}
		l.session.seen, l.session.from, l.result.answer = store.SessionCursor{Epoch: l.session.epoch}, 0, gateway.Answer{}
		l.write()
		return
	}
	var lost error
	err := l.api.deliver(ctx, l.session, l.result.answer, func(answer gateway.Answer) error {
		l.result.answer, l.result.written = answer, make(chan error, 1)
		l.write()
		lost = <-l.result.written
		return lost
	})
	if err != nil {
		l.fail(err)
		return
	}
	l.end(lost)
}
