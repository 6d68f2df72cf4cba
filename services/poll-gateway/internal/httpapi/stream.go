package httpapi

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/tracing"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// heartbeatEarly is how much earlier than that a stream may be written to: streams that began together, or were given an event
// together, are not written to together for ever.
const heartbeatEarly = heartbeat / 10

// nextHeartbeat is how long a stream waits before it is written to.
func nextHeartbeat() time.Duration { return heartbeat - rand.N(heartbeatEarly) }

// streaming is what has to be known of a stream.
type streaming struct {
	query gateway.Query
	token string
	// epoch is the log's as the client knows it.
	epoch string
}

// stream sends messages as Server-Sent Events. It is a loop of polls whose answers are written one after the other.
// It ends, for the client to come again, when the node drains, the token ends or the store is away.
func (a *API) stream(c *gin.Context) error {
	at, err := a.streamStart(c)
	if err != nil {
		return err
	}
	s := streaming{query: a.defaultQuery(c), epoch: at.epoch}
	s.token, _ = httpserver.Bearer(c.Request)
	s.query.After, s.query.Wait, s.query.Resumes = at.position, 0, true
	answer := gateway.Answer{Reset: true}
	if at.known {
		// The first poll does not wait: whatever is wrong can still be told by the status.
		if answer, err = a.Gateway.Poll(c.Request.Context(), s.query); err != nil {
			return err
		}
	}
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would otherwise hold events back
	c.Status(http.StatusOK)
	a.streamOn(c, s, answer)
	return nil
}

// streamOn writes answers until the stream ends, or goes on waiting without this goroutine. The status is out: whatever goes
// wrong, all that can be told is the end.
func (a *API) streamOn(c *gin.Context, s streaming, answer gateway.Answer) {
	ctx := c.Request.Context()
	for a.writeEvents(c, s.epoch, answer) && !answer.Close && a.stillGood(ctx, s.token) {
		current, err := a.Gateway.Epochs().Current(ctx)
		if err != nil {
			return
		}
		if current != s.epoch && !answer.Reset {
			s.epoch, answer = current, gateway.Answer{Reset: true}
			continue
		}
		s.epoch = current
		s.query.After, s.query.Wait = answer.Position, untilExpiry(nextHeartbeat(), s.query.Caller.ExpiresAt)
		if s.query.Wait == 0 {
			return
		}
		var parked *gateway.Parked
		if answer, parked, err = a.Gateway.Start(ctx, s.query); parked != nil {
			if a.hold(c, parked, s) {
				return
			}
			answer, err = parked.Wait(ctx)
		}
		if err != nil {
			return
		}
	}
}

// stillGood reports whether the token is not refused by now: the key that signed it may have been taken away. That it cannot
// be said ends no stream: the client could not come again before it can.
func (a *API) stillGood(ctx context.Context, raw string) bool {
	_, err := a.Tokens.Check(ctx, raw)
	return err == nil || errors.Is(err, token.ErrUnavailable)
}

// streamStart reads where a stream begins: after the last event that the client has seen, else where it asks to,
// else at the beginning.
func (a *API) streamStart(c *gin.Context) (place, error) {
	if last := c.GetHeader("Last-Event-ID"); last != "" {
		return a.place(c.Request.Context(), "Last-Event-ID", last)
	}
	return a.place(c.Request.Context(), "after", c.DefaultQuery("after", "0"))
}

// writeEvents reports whether the client has taken the events of an answer.
func (a *API) writeEvents(c *gin.Context, epoch string, answer gateway.Answer) bool {
	if answer.Reset {
		current, err := a.Gateway.Epochs().Current(c.Request.Context())
		if err != nil {
			return false
		}
		epoch = current
	}
	release, err := a.Unread.reserve(httpserver.Caller(c).Subject, answer)
	if err != nil {
		return false
	}
	defer release()
	rc := http.NewResponseController(c.Writer)
	_ = rc.SetWriteDeadline(time.Now().Add(answerTimeout))
	spans := a.delivering(answer, tracing.Sampled(c.Request.Context()))
	_, err = c.Writer.Write(appendEvents(make([]byte, 0, eventsSize(answer)), answer, epoch))
	if err == nil {
		err = flush(c.Writer)
	}
	spans.end(err)
	return err == nil
}

// heartbeatText is what an idle stream is sent: a comment.
const heartbeatText = ": heartbeat\n\n"

var heartbeatChunk = chunk(len(heartbeatText), func(b []byte) []byte { return append(b, heartbeatText...) })

// eventsSize is about how many bytes the events of an answer have.
func eventsSize(a gateway.Answer) int {
	size := 64 + 32*len(a.Skipped)
	for _, o := range a.Objects {
		size += o.JSON.Len() + 32
	}
	return size
}

// appendEvents appends the text of an answer's events (WHATWG HTML, Server-sent events). The id of a message is its position.
func appendEvents(b []byte, a gateway.Answer, epoch string) []byte {
	if a.Reset {
		return append(append(append(b, "event: reset\nid: 0\ndata: "...), frame(a, epoch)...), "\n\n"...)
	}
	skipped := a.Skipped
	for _, o := range a.Objects {
		n := 0
		for n < len(skipped) && skipped[n] < o.Position {
			n++
		}
		b = appendSkippedEvent(b, skipped[:n])
		skipped = skipped[n:]
		b = append(b, "id: "...)
		b = strconv.AppendInt(b, o.Position, 10)
		b = append(o.JSON.AppendTo(append(b, "\ndata: "...)), "\n\n"...)
	}
	b = appendSkippedEvent(b, skipped)
	if len(a.Objects)+len(a.Skipped) == 0 {
		b = append(b, heartbeatText...)
	}
	return b
}

// appendSkippedEvent tells of positions that hold nothing. It stands before what follows them: a client that breaks off goes on
// from the last id it has seen, and must have been told of all below.
func appendSkippedEvent(b []byte, skipped []int64) []byte {
	if len(skipped) == 0 {
		return b
	}
	b = append(b, "event: skipped\nid: "...)
	b = strconv.AppendInt(b, skipped[len(skipped)-1], 10)
	b = append(b, "\ndata: {"...)
	return append(append(b, appendSkipped(nil, skipped)[1:]...), "}\n\n"...)
}
