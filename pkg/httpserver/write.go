package httpserver

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// jsonType is the Content-Type of all answers, which share it: see securityHeaders.
var jsonType = []string{"application/json; charset=utf-8"}

const (
	// writePart is how much of an answer a client must take within writePause: a link of 64 kbit/s takes it in four seconds.
	writePart  = 32 << 10
	writePause = 30 * time.Second
)

// Write sends an answer's body, or a part of it. A client may take as long as it needs, if it takes some all the time. An error means that
// it did not take everything.
func Write(c *gin.Context, body []byte) error {
	rc := http.NewResponseController(c.Writer)
	for {
		// An error means that the connection has no deadlines (in a test, say).
		_ = rc.SetWriteDeadline(time.Now().Add(writePause))
		n := min(len(body), writePart)
		if _, err := c.Writer.Write(body[:n]); err != nil {
			return err
		}
		if body = body[n:]; len(body) == 0 {
			return nil
		}
	}
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
	_ = WriteJSON(c, status, text) // a client that has gone needs no answer
	return nil
}
