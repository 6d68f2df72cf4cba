package httpapi

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/parking"
)

// retryHeartbeat is the delay before a heartbeat that came due during a read of the store is tried again.
const retryHeartbeat = time.Second

// streamState is the state of a parked stream.
type streamState uint8

const (
	// streamWaits for the outcome of its poll.
	streamWaits streamState = iota
	// streamWrites: a write to the client is under way.
	streamWrites
	// streamAsks for the log's epoch.
	streamAsks
	// streamEnded: it has left.
	streamEnded

	streamStates
)

// streamEvent is an event of a parked stream.
type streamEvent uint8

const (
	// clientGone: the client has closed the connection.
	clientGone streamEvent = iota
	// timeUp: a heartbeat is due, or the token expires.
	timeUp
	// completed: the poll has its outcome.
	completed
	// written: the write is complete; cut: it has failed.
	written
	cut
	// told: the epoch was read, or the read failed.
	told

	streamEvents
)

// streamAction is the reaction of a parked stream to an event.
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

// streamTable is the state machine of a parked stream. Late events are ignored: if a client goes during a write, the write fails or the
// next Wait notices.
var streamTable = [streamStates][streamEvents]streamAction{
	streamWaits:  {clientGone: withdraw, timeUp: expire, completed: send},
	streamWrites: {written: goOn, cut: breakOff},
	streamAsks:   {told: takeEpoch},
	streamEnded:  {},
}

// connection is what a parked stream needs of its Spot: see parking.Spot.
type connection interface {
	admission.Owner
	Wait(d time.Duration)
	Write(b []byte)
	Release(keep bool)
}

// parkedStream is a stream that waits without a goroutine. It is the parking.Handler of its connection, and the gateway.Observer of its
// poll, which resumes after each answer. One worker at a time handles its events, in order.
type parkedStream struct {
	api     *API
	request httpserver.Detached
	parked  *gateway.Parked
	spot    connection
	// token is checked from time to time; expires is its expiry.
	token   string
	expires time.Time
	// epoch is the log's epoch as the client knows it.
	epoch string
	// size is how many bytes were sent to the client.
	size int
	// turn is the outcome at work; nil while the stream waits.
	turn *pendingAnswer

	mu sync.Mutex
	// pending has a bit for each event that has not been handled. running: a worker handles them.
	pending uint8
	running bool
	state   streamState
	// gone: the client went while the store was being read.
	gone bool
}

// pendingAnswer is an outcome of a stream's poll, and its processing.
type pendingAnswer struct {
	answer gateway.Answer
	err    error
	spans  deliveries
	// held are the bytes reserved for the answer; nil if there are none.
	held *admission.Holding
	// fault is the error of the write.
	fault error
	// last: this write is the last one.
	last bool
	// current is the log's epoch; then is what to do with it.
	current string
	then    func(*parkedStream)
}

// finished is called when the answer was written or has failed.
func (t *pendingAnswer) finished(err error) {
	t.spans.end(err)
	t.spans = nil
	if t.held != nil {
		t.held.Release()
		t.held = nil
	}
}

// hold parks a stream whose answer has begun, and reports whether it could. If so, the handler must not use the request any more.
func (a *API) hold(c *gin.Context, p *gateway.Parked, s streaming) bool {
	if a.Lot == nil || time.Until(p.Until()) < a.LeastWait {
		return false
	}
	h := &parkedStream{api: a, parked: p, token: s.token, expires: s.query.Caller.ExpiresAt, epoch: s.epoch, size: c.Writer.Size()}
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

// begin starts the handling of events.
func (h *parkedStream) begin() {
	h.running = true
	h.parked.Watch(h)
	h.watch()
	h.run()
}

// watch makes the Lot watch the client and the clock, unless the poll has its outcome already.
func (h *parkedStream) watch() {
	if !h.isPending(completed) {
		h.spot.Wait(time.Until(h.parked.Until()))
	}
}

// Completed implements gateway.Observer.
func (h *parkedStream) Completed(answer gateway.Answer, err error) {
	h.turn = &pendingAnswer{answer: answer, err: err, spans: h.api.delivering(answer, h.request.Trace())}
	h.post(completed)
}

// Expired implements parking.Handler.
func (h *parkedStream) Expired() { h.post(timeUp) }

// Gone implements parking.Handler.
func (h *parkedStream) Gone() { h.post(clientGone) }

// Written implements parking.Handler.
func (h *parkedStream) Written(err error) {
	if h.turn.fault = err; err != nil {
		h.post(cut)
		return
	}
	h.post(written)
}

// post queues an event. It does not block.
func (h *parkedStream) post(e streamEvent) {
	h.mu.Lock()
	h.pending |= 1 << e
	start := !h.running
	h.running = true
	h.mu.Unlock()
	if start {
		h.api.workers.do(h.run)
	}
}

func (h *parkedStream) isPending(e streamEvent) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pending&(1<<e) != 0
}

// run handles events until none are left.
func (h *parkedStream) run() {
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

func (h *parkedStream) handle(e streamEvent) {
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

// withdraw ends the stream of a client that has gone. If its poll resumes and does not wait yet, the outcome that follows soon ends it.
func (h *parkedStream) withdraw() {
	if h.gone = true; h.parked.Withdraw() {
		h.end(false)
	}
}

// expire ends the wait with a heartbeat, or with what there is to tell by then.
func (h *parkedStream) expire() {
	switch {
	case time.Now().Before(h.parked.Until()): // it was the time of an earlier wait
	case !h.parked.Expire():
		h.spot.Wait(retryHeartbeat) // the store is being read; if an outcome has come instead, it ends this wait
	}
}

// send writes the outcome of the poll.
func (h *parkedStream) send() {
	t := h.turn
	switch {
	case h.gone:
		t.finished(context.Canceled)
		h.end(false)
	case t.err != nil:
		t.finished(t.err)
		h.finish()
	case t.answer.Reset:
		h.withEpoch((*parkedStream).reset)
	default:
		h.write()
	}
}

// reset tells the client the new epoch.
func (h *parkedStream) reset() {
	h.epoch = h.turn.current
	h.write()
}

// write sends the events of an answer.
func (h *parkedStream) write() {
	t := h.turn
	var err error
	if t.held, err = h.api.Unread.take(h.parked.Holder(), h.api.Unread.sizeOf(t.answer)); err != nil {
		t.finished(err)
		h.finish()
		return
	}
	text := t.text(h.epoch)
	h.size += len(text)
	t.answer.Objects, t.answer.Skipped, t.answer.Shared = nil, nil, nil // the text has them
	h.state = streamWrites
	t.held.Loosen(h.spot)
	h.spot.Write(text)
}

// text encodes the answer's events as a chunk, and for the last answer also the end of the stream.
func (t *pendingAnswer) text(epoch string) (text []byte) {
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

// finish ends the stream. After an error too, the end is all that the client can be told.
func (h *parkedStream) finish() {
	h.turn.last = true
	h.state = streamWrites
	h.spot.Write(lastChunk)
}

// goOn follows a write: the stream waits again, unless it has to end.
func (h *parkedStream) goOn() {
	t := h.turn
	t.finished(nil)
	switch {
	case t.last:
		h.end(h.request.KeepAlive() && !t.answer.Close)
	case !h.api.stillGood(context.Background(), h.token):
		h.finish()
	default:
		h.withEpoch((*parkedStream).resume)
	}
}

// resume waits again. If the epoch has changed, it sends the client a reset first.
func (h *parkedStream) resume() {
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

// withEpoch calls then with the log's epoch. If the store has to be read for it, another goroutine does so.
func (h *parkedStream) withEpoch(then func(*parkedStream)) {
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

func (h *parkedStream) takeEpoch() {
	if h.turn.err != nil {
		h.turn.finished(h.turn.err)
		h.finish()
		return
	}
	h.turn.then(h)
}

// end releases everything. If keep is set, the connection stays open for the next request.
func (h *parkedStream) end(keep bool) {
	h.state, h.turn = streamEnded, nil
	h.parked.Leave()
	h.request.Done(http.StatusOK, h.size)
	h.spot.Release(keep)
}
