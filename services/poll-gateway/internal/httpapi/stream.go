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
	"github.com/sealpost/sealpost/services/poll-gateway/internal/cursor"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// heartbeatEarly is by how much a heartbeat may come earlier. Without that, streams that began together, or got an event together, would
// be written to together for ever.
const heartbeatEarly = heartbeat / 10

// nextHeartbeat returns the time until the next heartbeat.
func nextHeartbeat() time.Duration { return heartbeat - rand.N(heartbeatEarly) }

// streaming is the state of a stream.
type streaming struct {
	query gateway.Query
	token string
	// epoch is the log's epoch as the client knows it.
	epoch string
}

// stream sends messages as Server-Sent Events. It is a loop of polls whose answers are written one after the other. It ends, so that the
// client reconnects, when the node drains, the token ends or the store is unavailable.
func (a *API) stream(c *gin.Context) error {
	if httpserver.IsHead(c) {
		c.Header("Content-Type", httpserver.EventStreamType)
		c.Status(http.StatusOK)
		return nil
	}
	at, err := a.streamStart(c)
	if err != nil {
		return err
	}
	s := streaming{query: a.defaultQuery(c), epoch: at.epoch}
	s.token, _ = httpserver.Bearer(c.Request)
	s.query.After, s.query.Wait, s.query.Resumes = at.position, 0, true
	answer := gateway.Answer{Reset: true}
	if at.known {
		// The first poll does not wait: an error can still become the status.
		if answer, err = a.Gateway.Poll(c.Request.Context(), s.query); err != nil {
			return err
		}
	}
	h := c.Writer.Header()
	h.Set("Content-Type", httpserver.EventStreamType)
	h.Set("X-Accel-Buffering", "no") // else nginx would buffer events
	c.Status(http.StatusOK)
	a.streamOn(c, s, answer)
	return nil
}

// streamOn writes answers until the stream ends or is parked. The status is out: after an error, the end is all that the client can be
// told.
func (a *API) streamOn(c *gin.Context, s streaming, answer gateway.Answer) {
	ctx := c.Request.Context()
	for first := true; a.writeEvents(c, s.epoch, answer, first) && !answer.Close && a.stillGood(ctx, s.token); first = false {
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

// stillGood reports whether the token is still accepted: its signing key may have been removed. If the check itself fails, the stream
// stays open: a reconnect would fail too.
func (a *API) stillGood(ctx context.Context, raw string) bool {
	_, err := a.Tokens.Check(ctx, raw)
	return err == nil || errors.Is(err, token.ErrUnavailable)
}

// streamStart returns where a stream begins: after the last event that the client has seen, else where it asks for, else at the
// beginning.
func (a *API) streamStart(c *gin.Context) (place, error) {
	if last := c.GetHeader("Last-Event-ID"); last != "" {
		return a.place(c, "Last-Event-ID", last)
	}
	return a.place(c, "after", c.DefaultQuery("after", "0"))
}

// writeEvents reports whether the client has taken the events of an answer. The first ones open the stream.
func (a *API) writeEvents(c *gin.Context, epoch string, answer gateway.Answer, first bool) bool {
	if answer.Reset {
		current, err := a.Gateway.Epochs().Current(c.Request.Context())
		if err != nil {
			return false
		}
		epoch = current
	}
	release, err := a.Unread.reserve(c, answer)
	if err != nil {
		return false
	}
	defer release()
	text := make([]byte, 0, eventsSize(answer))
	if first {
		text = appendOpening(text, answer, epoch)
	} else {
		text = appendEvents(text, answer, epoch)
	}
	spans := a.delivering(answer, tracing.Sampled(c.Request.Context()))
	if err = httpserver.Write(c, text); err == nil {
		err = flush(c.Writer)
	}
	spans.end(err)
	return err == nil
}

// heartbeatText is an SSE comment.
const heartbeatText = ": heartbeat\n\n"

var heartbeatChunk = chunk(len(heartbeatText), func(b []byte) []byte { return append(b, heartbeatText...) })

// eventsSize estimates the bytes of an answer's events.
func eventsSize(a gateway.Answer) int {
	size := 192 + 32*len(a.Skipped)
	for _, o := range a.Objects {
		size += o.JSON.Len() + 48
	}
	return size
}

// reconnectAfter is the least time after which an event source whose stream has ended comes back; up to twice that, so that those of a
// node that stops do not come together.
const reconnectAfter = 2 * time.Second

// appendOpening appends what a stream begins with: when to come back, and the answer. If that has no events, a "cursor" event gives the client
// an id at once: else what comes while the stream is away would be lost on a client that began at the head and has seen no id.
func appendOpening(b []byte, a gateway.Answer, epoch string) []byte {
	b = append(b, "retry: "...)
	b = strconv.AppendInt(b, (reconnectAfter + rand.N(reconnectAfter)).Milliseconds(), 10)
	b = append(b, '\n')
	if a.Reset || len(a.Objects)+len(a.Skipped) > 0 {
		return appendEvents(b, a, epoch)
	}
	at := cursor.Cursor{Epoch: epoch, Position: a.Position}
	b = at.AppendTo(append(b, "event: cursor\nid: "...))
	return append(at.AppendTo(append(b, "\ndata: {\"cursor\":\""...)), "\"}\n\n"...)
}

// appendEvents appends the events of an answer (WHATWG HTML, Server-sent events). The id of an event is the cursor after it.
func appendEvents(b []byte, a gateway.Answer, epoch string) []byte {
	if a.Reset {
		b = cursor.Cursor{Epoch: epoch, Position: a.Position}.AppendTo(append(b, "event: reset\nid: "...))
		return append(append(append(b, "\ndata: "...), frame(a, epoch)...), "\n\n"...)
	}
	skipped := a.Skipped
	for _, o := range a.Objects {
		n := 0
		for n < len(skipped) && skipped[n] < o.Position {
			n++
		}
		b = appendSkippedEvent(b, skipped[:n], epoch)
		skipped = skipped[n:]
		b = cursor.Cursor{Epoch: epoch, Position: o.Position}.AppendTo(append(b, "id: "...))
		b = append(o.JSON.AppendTo(append(b, "\ndata: "...)), "\n\n"...)
	}
	b = appendSkippedEvent(b, skipped, epoch)
	if len(a.Objects)+len(a.Skipped) == 0 {
		b = append(b, heartbeatText...)
	}
	return b
}

// appendSkippedEvent appends the empty positions. They come before the message that follows them: a client that disconnects continues
// from the last id it has seen, and must have seen everything below.
func appendSkippedEvent(b []byte, skipped []int64, epoch string) []byte {
	if len(skipped) == 0 {
		return b
	}
	b = cursor.Cursor{Epoch: epoch, Position: skipped[len(skipped)-1]}.AppendTo(append(b, "event: skipped\nid: "...))
	b = append(b, "\ndata: {"...)
	return append(append(b, appendSkipped(nil, skipped)[1:]...), "}\n\n"...)
}
