package httpserver

import (
	"context"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/logging"
	"github.com/sealpost/sealpost/pkg/token"
)

// exchange is what the shell knows of a request while it is under way. It is the request's context, or that of which it was
// made: so that it takes one allocation, and no map.
type exchange struct {
	context.Context
	id      string
	metrics *httpMetrics
	began   time.Time
	// caller is who RequireToken found; known says that it has.
	caller token.Identity
	known  bool
	// bodyLimit is what LimitBody has set; 0 if it has not.
	bodyLimit int64
	// detached: the answer comes after the handler has returned.
	detached bool
	// aborted is the status that would have been told of an answer that was cut off; 0 for others.
	aborted int
}

type exchangeKey struct{}

// Value implements context.Context.
func (e *exchange) Value(key any) any {
	switch key.(type) {
	case exchangeKey:
		return e
	case logging.RequestIDKey:
		return e.id
	}
	return e.Context.Value(key)
}

// exchangeOf is that of a request. One that did not come through a Server is given an exchange that nobody else looks at.
func exchangeOf(c *gin.Context) *exchange {
	if e := exchangeIn(c.Request.Context()); e != nil {
		return e
	}
	e := &exchange{Context: c.Request.Context(), id: logging.RequestID(c.Request.Context())}
	c.Request = c.Request.WithContext(e)
	return e
}

// exchangeIn is nil if there is none.
func exchangeIn(ctx context.Context) *exchange {
	e, _ := ctx.Value(exchangeKey{}).(*exchange)
	return e
}
