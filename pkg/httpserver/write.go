package httpserver

import (
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/admission"
)

// jsonType is the Content-Type of all answers, which share it: see securityHeaders.
var jsonType = []string{"application/json; charset=utf-8"}

const (
	// writePart is how much of an answer a client must take within writePause: a link of 64 kbit/s takes it in four seconds.
	writePart  = 32 << 10
	writePause = 30 * time.Second
)

// errDisplaced means that an answer had to make room: see LoosenWrites.
var errDisplaced = errors.New("the answer made room for others'")

// Write sends an answer's body, or a part of it. A client may take as long as it needs, if it takes some all the time and nobody needs what
// the answer holds (see LoosenWrites). An error means that it did not take everything.
func Write(c *gin.Context, body []byte) error {
	w := writing{c: c, rc: http.NewResponseController(c.Writer)}
	if e := exchangeIn(c.Request.Context()); e != nil && e.held != nil {
		return w.whileHeld(e.held, body)
	}
	return w.write(body, func(int) bool { return true })
}

// writing is one Write.
type writing struct {
	c         *gin.Context
	rc        *http.ResponseController
	displaced atomic.Bool
}

func (w *writing) whileHeld(held *admission.Holding, body []byte) error {
	if !held.Fix() { // an earlier part was displaced
		return w.cut()
	}
	held.Loosen(w)
	err := w.write(body, func(n int) bool {
		held.Progress(int64(n))
		return !w.displaced.Load()
	})
	if !held.Fix() {
		return w.cut()
	}
	return err
}

// cut lets nothing more out: half an answer must not get an end.
func (w *writing) cut() error {
	_ = w.rc.SetWriteDeadline(past)
	return errDisplaced
}

// write sends a body in parts, as long as goOn, which gets the size of the part before, says so.
func (w *writing) write(body []byte, goOn func(n int) bool) error {
	for done := 0; ; {
		// An error means that the connection has no deadlines (in a test, say).
		_ = w.rc.SetWriteDeadline(time.Now().Add(writePause))
		if !goOn(done) {
			return errDisplaced
		}
		done = min(len(body), writePart)
		if _, err := w.c.Writer.Write(body[:done]); err != nil {
			return err
		}
		if body = body[done:]; len(body) == 0 {
			return nil
		}
	}
}

// Displaced implements admission.Owner: it ends the write under way. One that comes just after the deadline was set finds the mark.
func (w *writing) Displaced() {
	w.displaced.Store(true)
	_ = w.rc.SetWriteDeadline(past)
}

// WriteJSON answers with a body that is already JSON. An error means that the client did not take it.
func WriteJSON(c *gin.Context, status int, body []byte) error {
	c.Writer.Header()["Content-Type"] = jsonType
	c.Status(status)
	return Write(c, body)
}

// JSON answers with v, whose encoding must not fail. It is for answers that may be large.
func JSON(c *gin.Context, status int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if e := exchangeIn(c.Request.Context()); e != nil && e.unread != nil {
		held := HoldAnswer(c, e.unread, int64(len(text)))
		if held == nil {
			busyErrors.Write(c, errBusy)
			return nil
		}
		defer held.Release()
	}
	_ = WriteJSON(c, status, text) // a client that has gone needs no answer
	return nil
}
