package httpserver

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/api"
)

// EventStreamType is the Content-Type of Server-Sent Events.
const EventStreamType = "text/event-stream"

// EventStream marks a route that serves Server-Sent Events. An event source takes every status but 200 as final (WHATWG HTML, section
// 9.2.3), so an error that passes is answered to it with a stream that says when to come back, and ends. A client that does not ask for
// text/event-stream gets the status.
func EventStream(c *gin.Context) {
	exchangeOf(c).eventSource = strings.Contains(c.GetHeader("Accept"), EventStreamType)
}

// passes reports whether the same request may succeed later.
func passes(e *api.Error) bool {
	return e.Status == http.StatusTooManyRequests || e.Status >= http.StatusInternalServerError
}

// writeReconnect answers an event source with e. Metrics report its status.
func writeReconnect(c *gin.Context, e *api.Error) {
	pause := e.RetryAfter
	if pause == 0 {
		pause = RetryAfter(time.Second)
	}
	exchangeOf(c).aborted = e.Status
	c.Header("X-Accel-Buffering", "no")
	c.Data(http.StatusOK, EventStreamType, fmt.Appendf(nil, ": %s: %s\nretry: %d\n\n", e.Code, e.Message, pause.Milliseconds()))
	c.Abort()
}
