package ratelimit

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// DefaultMaxKeys is enough for the keys of a busy hour, in some ten megabytes.
const DefaultMaxKeys = 1 << 16

// InProcess is a Limiter for a deployment of one process. It is the generic cell rate algorithm (ITU-T I.371, annex A, in the form of
// virtual scheduling): all it keeps for a key is the time at which the whole quota is available again. It is safe for concurrent use.
//
// It remembers the most recently used keys. A refused event is use too, so a refused client can make it forget its key only by using more
// keys than it holds in the meantime.
type InProcess struct {
	quota Quota
	// interval is the time to gain one event.
	interval time.Duration
	// start is the base of all times, on the monotonic clock: a change of the wall clock has no effect.
	start time.Time

	mu   sync.Mutex
	full *simplelru.LRU[string, time.Duration]
}

// NewInProcess makes a Limiter that remembers up to maxKeys keys; 0 means DefaultMaxKeys. It panics on an invalid quota: settings are
// checked earlier.
func NewInProcess(q Quota, maxKeys int) *InProcess {
	if q.Events < 1 || q.Period < time.Duration(q.Events) {
		panic(fmt.Sprintf("ratelimit: %d events in %s is no quota", q.Events, q.Period))
	}
	if maxKeys == 0 {
		maxKeys = DefaultMaxKeys
	}
	full, err := simplelru.NewLRU[string, time.Duration](maxKeys, nil)
	if err != nil {
		panic(fmt.Sprintf("ratelimit: room for %d keys", maxKeys))
	}
	return &InProcess{quota: q, interval: q.Period / time.Duration(q.Events), start: time.Now(), full: full}
}

// Allow implements Limiter. It never fails.
func (l *InProcess) Allow(ctx context.Context, key string) (Result, error) {
	return l.AllowN(ctx, key, 1)
}

// AllowN implements Limiter. It never fails.
func (l *InProcess) AllowN(_ context.Context, key string, n int) (Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.start)
	full, _ := l.full.Get(key)
	full = max(full, now)
	burst, cost := l.interval*time.Duration(l.quota.Events), l.interval*time.Duration(n)
	if wait := full + cost - burst - now; wait > 0 {
		return Result{Limit: l.quota.Events, ResetAfter: full - now, RetryAfter: wait}, nil
	}
	full += cost
	l.full.Add(key, full)
	return Result{
		Allowed: true, Limit: l.quota.Events, Remaining: int((burst - (full - now)) / l.interval), ResetAfter: full - now,
	}, nil
}

// GiveBack implements Limiter. It never fails.
func (l *InProcess) GiveBack(_ context.Context, key string, n int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if full, known := l.full.Get(key); known {
		l.full.Add(key, full-l.interval*time.Duration(n)) // what is in the past counts as now
	}
	return nil
}
