package httpserver

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/api"
)

const (
	// alikePeriod and mostAlike bound the lines about failures of one kind: strangers cause as many failures as they like.
	alikePeriod = 10 * time.Second
	mostAlike   = 10
)

// failureLog logs the requests that failed, and of those that are alike only some. The metrics count all.
type failureLog struct {
	log *slog.Logger

	mu    sync.Mutex
	kinds map[failureKind]*failureCount
}

// failureKind is what failures have in common. There are few: both come from this program.
type failureKind struct {
	route string
	code  api.Code
}

// failureCount counts failures since a time.
type failureCount struct {
	since            time.Time
	logged, unlogged int
}

func newFailureLog(log *slog.Logger) *failureLog {
	return &failureLog{log: log, kinds: map[failureKind]*failureCount{}}
}

// add logs a failure of the server.
func (l *failureLog) add(ctx context.Context, route string, answer *api.Error, err error) {
	if answer.Status < http.StatusInternalServerError {
		return
	}
	trace.SpanFromContext(ctx).RecordError(err)
	shown, unlogged := l.count(failureKind{route, answer.Code}, time.Now())
	if !shown {
		return
	}
	attrs := []slog.Attr{slog.String("route", route), slog.Int("status", answer.Status), slog.String("error", err.Error())}
	if unlogged > 0 {
		attrs = append(attrs, slog.Int("alikeUnlogged", unlogged))
	}
	l.log.LogAttrs(ctx, slog.LevelWarn, "request failed", attrs...)
}

// count reports whether a failure is to be logged, and how many like it were not since the last that was.
func (l *failureLog) count(kind failureKind, now time.Time) (shown bool, unlogged int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kinds[kind]
	if k == nil {
		k = &failureCount{}
		l.kinds[kind] = k
	}
	if now.Sub(k.since) >= alikePeriod {
		k.since, k.logged = now, 0
	}
	if k.logged == mostAlike {
		k.unlogged++
		return false, 0
	}
	k.logged++
	unlogged, k.unlogged = k.unlogged, 0
	return true, unlogged
}
