package httpapi

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/tracing"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// stream sends messages as Server-Sent Events. It is a loop of polls whose answers are written one after the other.
// It ends, for the client to come again, when the node drains, the token ends or the store is away.
func (a *API) stream(c *gin.Context) error {
	q := a.defaultQuery(c)
	at, err := a.streamStart(c)
	if err != nil {
		return err
	}
	q.After, q.Wait = at.position, 0
	answer := gateway.Answer{Reset: true}
	if at.known {
		// The first poll does not wait: whatever is wrong can still be told by the status.
		if answer, err = a.Gateway.Poll(c.Request.Context(), q); err != nil {
			return err
		}
	}
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // nginx would otherwise hold events back
	c.Status(http.StatusOK)
	a.streamOn(c, q, at.epoch, answer)
	return nil
}

// streamOn writes answers until the stream ends. The status is out: whatever goes wrong, all that can be told is the end.
func (a *API) streamOn(c *gin.Context, q gateway.Query, epoch string, answer gateway.Answer) {
	for a.writeEvents(c, epoch, answer) && !answer.Close && a.stillGood(c) {
		current, err := a.Gateway.Epochs().Current(c.Request.Context())
		if err != nil {
			return
		}
		if current != epoch && !answer.Reset {
			epoch, answer = current, gateway.Answer{Reset: true}
			continue
		}
		epoch = current
		q.After, q.Wait = answer.Position, untilExpiry(heartbeat, q)
		if q.Wait == 0 {
			return
		}
		if answer, err = a.Gateway.Poll(c.Request.Context(), q); err != nil {
			return
		}
	}
}

// stillGood reports whether the token is not refused by now: the key that signed it may have been taken away. That it cannot
// be said ends no stream: the client could not come again before it can.
func (a *API) stillGood(c *gin.Context) bool {
	raw, _ := httpserver.Bearer(c.Request)
	_, err := a.Tokens.Check(c.Request.Context(), raw)
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
	_, err = c.Writer.Write(events(answer, epoch))
	if err == nil {
		err = flush(c.Writer)
	}
	spans.end(err)
	return err == nil
}

// events makes the text of an answer's events (WHATWG HTML, Server-sent events). The id of a message is its position.
func events(a gateway.Answer, epoch string) []byte {
	if a.Reset {
		return append(append([]byte("event: reset\nid: 0\ndata: "), frame(a, epoch)...), "\n\n"...)
	}
	var b []byte
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
		b = append(append(append(b, "\ndata: "...), o.JSON...), "\n\n"...)
	}
	b = appendSkippedEvent(b, skipped)
	if len(b) == 0 {
		b = append(b, ": heartbeat\n\n"...)
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
