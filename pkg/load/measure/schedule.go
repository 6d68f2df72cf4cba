package measure

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Schedule deals out the moments at which an open loop does something. Whoever takes a moment that has passed already
// is late, and counts from the moment all the same: that is what keeps a stalled server from slowing down the clock
// it is measured with.
type Schedule struct {
	start time.Time
	gap   float64 // ns
	end   time.Time
	next  atomic.Int64
}

// NewSchedule makes a schedule of rate moments a second from start to end.
func NewSchedule(start, end time.Time, rate float64) *Schedule {
	return &Schedule{start: start, end: end, gap: float64(time.Second) / rate}
}

// Next waits for the next moment that nobody has taken, and returns it. It is false when there is none any more.
func (s *Schedule) Next(ctx context.Context, timer *time.Timer) (time.Time, bool) {
	at := s.start.Add(time.Duration(float64(s.next.Add(1)-1) * s.gap))
	if !at.Before(s.end) {
		return at, false
	}
	return at, Until(ctx, timer, at)
}

// Until waits for a moment, and is false if ctx ended first. The timer is one that is not in use.
func Until(ctx context.Context, timer *time.Timer, at time.Time) bool {
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer.Reset(wait)
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		timer.Stop()
		return false
	}
}

// leastPause is waited after an error that came without a wish of the server's.
const leastPause = 100 * time.Millisecond

// Pause waits as long as a server asked, and up to half as long again, so that not all come back together. It is false
// if ctx ended first. The timer is one that is not in use.
func Pause(ctx context.Context, timer *time.Timer, asked time.Duration) bool {
	asked = max(asked, leastPause)
	return Until(ctx, timer, time.Now().Add(asked+rand.N(asked/2)))
}

// StoppedTimer makes a timer that is not in use.
func StoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
