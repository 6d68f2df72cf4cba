package httpapi

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/parking"
)

// retryHeartbeat is how soon a heartbeat is tried again that was due while the store was being read.
const retryHeartbeat = time.Second

// streamState is what a held stream is doing.
type streamState uint8

const (
	// streamWaits for the outcome of its poll.
	streamWaits streamState = iota
	// streamWrites: the client is being sent something.
	streamWrites
	// streamAsks for the log's epoch.
	streamAsks
	// streamEnded: it has left.
	streamEnded

	streamStates
)

// streamEvent is what happens to a held stream.
type streamEvent uint8

const (
	// clientGone: the client has closed the connection.
	clientGone streamEvent = iota
	// timeUp: a heartbeat is due, or the token ends.
	timeUp
	// completed: the poll has its outcome.
	completed
	// written: the client has been sent all of it; cut: it could not be sent.
	written
	cut
	// told: the log's epoch is there, or cannot be had.
	told

	streamEvents
)

// streamAction is what a held stream does about an event.
type streamAction uint8

const (
	ignore streamAction = iota
	withdraw
	expire
	send
	goOn
	breakOff
	takeEpoch
)

// streamTable is what a held stream does, by its state and what happens. What comes too late is ignored: a client that goes while
// the stream writes is noticed by the write, or when the stream waits again.
var streamTable = [streamStates][streamEvents]streamAction{
	streamWaits:  {clientGone: withdraw, timeUp: expire, completed: send},
	streamWrites: {written: goOn, cut: breakOff},
	streamAsks:   {told: takeEpoch},
	streamEnded:  {},
}

// connection is what a held stream needs of its place in the Lot: see parking.Spot.
type connection interface {
	Wait(d time.Duration)
	Write(b []byte)
	Release(keep bool)
}

// held is a stream that waits without a goroutine. It is the parking.Guest of its connection and the gateway.Waiter of its poll,
// which goes on after each answer. What happens to it is handled by one worker at a time, in order.
type held struct {
	api     *API
	request httpserver.Detached
	parked  *gateway.Parked
	spot    connection
	// token is checked now and then; expires is when it does.
	token   string
	expires time.Time
	// epoch is the log's as the client knows it.
	epoch string
	// size is the bytes that the client was sent.
	size int
	// turn is what is being done; nil while the stream waits.
	turn *turn

	mu sync.Mutex
	// pending are the events that have not been handled, a bit each; running: a worker handles them.
	pending uint8
	running bool
	state   streamState
	// gone: the client has gone while the store was being read.
	gone bool
}

// turn is an outcome of a stream's poll, and what is made of it.
type turn struct {
	answer gateway.Answer
	err    error
	spans  deliveries
	// release gives back what was reserved for the answer; nil if nothing was.
	release func()
	// fault is what was wrong with the write.
	fault error
	// last: nothing comes after what is being written.
	last bool
	// current is the log's epoch, and then what is done with it.
	current string
	then    func(*held)
}

// finished is called when the answer is written, or cannot be.
func (t *turn) finished(err error) {
	t.spans.end(err)
	t.spans = nil
	if t.release != nil {
		t.release()
		t.release = nil
	}
}

// hold makes a stream whose answer has begun wait without this goroutine, and reports whether it could. If so, the request is
// not this goroutine's any more.
func (a *API) hold(c *gin.Context, p *gateway.Parked, s streaming) bool {
	if a.Lot == nil || time.Until(p.Until()) < a.LeastWait {
		return false
	}
	h := &held{api: a, parked: p, token: s.token, expires: s.query.Caller.ExpiresAt, epoch: s.epoch, size: c.Writer.Size()}
	spot, err := a.Lot.Take(c.Request, http.NewResponseController(inner(c.Writer)).Hijack, h)
	if errors.Is(err, parking.ErrUnable) {
		return false
	}
	h.request = httpserver.DetachBegun(c)
	if err != nil {
		p.Withdraw()
		p.Leave()
		h.request.Done(http.StatusOK, h.size)
		return true
	}
	h.spot = spot
	h.begin()
	return true
}

// begin has everything that happens handled from here on.
func (h *held) begin() {
	h.running = true
	h.parked.Watch(h)
	h.watch()
	h.run()
}

// watch has the Lot tell of the client and of the time, unless the poll has its outcome already.
func (h *held) watch() {
	if !h.isPending(completed) {
		h.spot.Wait(time.Until(h.parked.Until()))
	}
}

// Completed implements gateway.Waiter.
func (h *held) Completed(answer gateway.Answer, err error) {
	h.turn = &turn{answer: answer, err: err, spans: h.api.delivering(answer, h.request.Trace())}
	h.post(completed)
}

// Expired implements parking.Guest.
func (h *held) Expired() { h.post(timeUp) }

// Gone implements parking.Guest.
func (h *held) Gone() { h.post(clientGone) }

// Written implements parking.Guest.
func (h *held) Written(err error) {
	if h.turn.fault = err; err != nil {
		h.post(cut)
		return
	}
	h.post(written)
}

// post has an event handled soon. It does not block.
func (h *held) post(e streamEvent) {
	h.mu.Lock()
	h.pending |= 1 << e
	start := !h.running
	h.running = true
	h.mu.Unlock()
	if start {
		h.api.workers.do(h.run)
	}
}

func (h *held) isPending(e streamEvent) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pending&(1<<e) != 0
}

// run handles events until there are none.
func (h *held) run() {
	for {
		h.mu.Lock()
		events := h.pending
		h.pending = 0
		h.running = events != 0
		h.mu.Unlock()
		if events == 0 {
			return
		}
		for e := range streamEvents {
			if events&(1<<e) != 0 {
				h.handle(e)
			}
		}
	}
}

func (h *held) handle(e streamEvent) {
	switch streamTable[h.state][e] {
	case withdraw:
		h.withdraw()
	case expire:
		h.expire()
	case send:
		h.send()
	case goOn:
		h.goOn()
	case breakOff:
		h.turn.finished(h.turn.fault)
		h.end(false)
	case takeEpoch:
		h.takeEpoch()
	}
}

// withdraw ends the stream of a client that has gone. If its poll goes on and does not wait yet, it is told of its outcome soon.
func (h *held) withdraw() {
	if h.gone = true; h.parked.Withdraw() {
		h.end(false)
	}
}

// expire has a heartbeat sent: what there is to tell at the end of the time to wait.
func (h *held) expire() {
	switch {
	case time.Now().Before(h.parked.Until()): // it was the time of an earlier wait
	case !h.parked.Expire():
		h.spot.Wait(retryHeartbeat) // the store is being read; if an event has come, what it brings ends this wait
	}
}

// send writes what the poll was answered with.
func (h *held) send() {
	t := h.turn
	switch {
	case h.gone:
		t.finished(context.Canceled)
		h.end(false)
	case t.err != nil:
		t.finished(t.err)
		h.finish()
	case t.answer.Reset:
		h.withEpoch((*held).reset)
	default:
		h.write()
	}
}

// reset tells the client that the log is another one.
func (h *held) reset() {
	h.epoch = h.turn.current
	h.write()
}

// write sends the events of an answer.
func (h *held) write() {
	t := h.turn
	var err error
	if t.release, err = h.api.Unread.reserve(h.parked.User(), t.answer); err != nil {
		t.finished(err)
		h.finish()
		return
	}
	text := t.text(h.epoch)
	h.size += len(text)
	t.answer.Objects, t.answer.Skipped, t.answer.Shared = nil, nil, nil // they are in the text
	h.state = streamWrites
	h.spot.Write(text)
}

// text is the answer's events as a chunk; of the last answer, with the end of the stream.
func (t *turn) text(epoch string) (text []byte) {
	chunked := func() []byte {
		return chunk(eventsSize(t.answer), func(b []byte) []byte { return appendEvents(b, t.answer, epoch) })
	}
	switch a := t.answer; {
	case a.Shared != nil:
		text = a.Shared.Text(gateway.StreamForm, epoch, chunked)
	case a.Reset || len(a.Objects)+len(a.Skipped) > 0:
		text = chunked()
	default:
		text = heartbeatChunk
	}
	if t.last = t.answer.Close; t.last {
		text = append(append(make([]byte, 0, len(text)+len(lastChunk)), text...), lastChunk...)
	}
	return text
}

// finish ends the stream's answer. Whatever went wrong, that is all that can be told.
func (h *held) finish() {
	h.turn.last = true
	h.state = streamWrites
	h.spot.Write(lastChunk)
}

// goOn follows a write: the stream waits again, unless it is to end.
func (h *held) goOn() {
	t := h.turn
	t.finished(nil)
	switch {
	case t.last:
		h.end(h.request.KeepAlive() && !t.answer.Close)
	case !h.api.stillGood(context.Background(), h.token):
		h.finish()
	default:
		h.withEpoch((*held).resume)
	}
}

// resume waits again, or tells the client first that the log is another one.
func (h *held) resume() {
	t := h.turn
	if t.current != h.epoch && !t.answer.Reset {
		t.answer = gateway.Answer{Reset: true}
		h.reset()
		return
	}
	h.epoch = t.current
	wait := untilExpiry(nextHeartbeat(), h.expires)
	if wait == 0 {
		h.finish()
		return
	}
	h.turn, h.state = nil, streamWaits
	h.parked.Resume(t.answer.Position, wait)
	h.watch()
}

// withEpoch goes on with the log's epoch. Another goroutine asks the store for it if that is needed.
func (h *held) withEpoch(then func(*held)) {
	t := h.turn
	var known bool
	if t.current, known = h.api.Gateway.Epochs().Known(context.Background()); known {
		then(h)
		return
	}
	h.state, t.then = streamAsks, then
	h.api.workers.start(func() {
		ctx, cancel := context.WithTimeout(context.Background(), advanceTimeout)
		defer cancel()
		t.current, t.err = h.api.Gateway.Epochs().Current(ctx)
		h.post(told)
	})
}

func (h *held) takeEpoch() {
	if h.turn.err != nil {
		h.turn.finished(h.turn.err)
		h.finish()
		return
	}
	h.turn.then(h)
}

// end leaves. If keep is set the connection lives on for the client's next request.
func (h *held) end(keep bool) {
	h.state, h.turn = streamEnded, nil
	h.parked.Leave()
	h.request.Done(http.StatusOK, h.size)
	h.spot.Release(keep)
}
