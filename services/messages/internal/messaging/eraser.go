package messaging

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"
)

const (
	// eraseEvery is how often the contents of expired messages are erased, with a jitter of a fifth.
	eraseEvery = time.Minute
	// eraseTimeout bounds one run.
	eraseTimeout = 30 * time.Second
)

// Expired erases the contents of messages that have expired. See mongo.Store.EraseExpired.
type Expired interface {
	EraseExpired(ctx context.Context, now time.Time) (erased int64, err error)
}

// Eraser regularly erases the contents of expired messages. Every node does so; the others do not find what one has erased.
type Eraser struct {
	Store   Expired
	Now     func() time.Time
	Log     *slog.Logger
	Metrics *Metrics
}

// Run erases until ctx ends.
func (e *Eraser) Run(ctx context.Context) {
	for {
		select {
		case <-time.After(eraseEvery - eraseEvery/5 + rand.N(2*eraseEvery/5)):
			e.erase(ctx)
		case <-ctx.Done():
			return
		}
	}
}

func (e *Eraser) erase(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, eraseTimeout)
	defer cancel()
	erased, err := e.Store.EraseExpired(bounded, e.Now())
	e.Metrics.erased.Add(float64(erased))
	if err != nil && ctx.Err() == nil {
		e.Metrics.notErased.Inc()
		e.Log.WarnContext(ctx, "contents of expired messages were not erased: it is tried again", "error", err.Error())
	}
}
