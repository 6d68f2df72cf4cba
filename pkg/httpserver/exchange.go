package httpserver

import (
	"context"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/logging"
	"github.com/sealpost/sealpost/pkg/token"
)

// exchange is this package's state of a request under way. It is the request's context, or an ancestor of that, so that it takes
// one allocation and no map.
type exchange struct {
	context.Context
	id      string
	metrics *httpMetrics
	began   time.Time
	// caller is the identity that RequireToken found; known reports that it did.
	caller token.Identity
	known  bool
	// bodyLimit is the limit set by LimitBody; 0 if none.
	bodyLimit int64
	// held gives way, if need be, while the client reads: see LoosenWrites. It may be nil.
	held *admission.Holding
	// unread bounds what JSON answers: see LimitAnswers. It may be nil.
	unread *admission.Pool
	// detached: the answer comes after the handler has returned.
	detached bool
	// aborted is the status to report for an answer that was cut off, or whose status says something else to the client; 0 for others.
	aborted int
	// eventSource: the client takes every status but 200 as final.
	eventSource bool
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

// exchangeOf returns the exchange of a request. A request that did not come through a Server gets a new one.
func exchangeOf(c *gin.Context) *exchange {
	if e := exchangeIn(c.Request.Context()); e != nil {
		return e
	}
	e := &exchange{Context: c.Request.Context(), id: logging.RequestID(c.Request.Context())}
	c.Request = c.Request.WithContext(e)
	return e
}

// exchangeIn may return nil.
func exchangeIn(ctx context.Context) *exchange {
	e, _ := ctx.Value(exchangeKey{}).(*exchange)
	return e
}
