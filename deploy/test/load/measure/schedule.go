package measure

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Schedule hands out the moments of an open loop. A caller that takes a past moment is late, but still counts from that moment: otherwise a
// stalled server would slow down the clock that measures it.
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

// Next waits for the next moment that nobody has taken, and returns it. It returns false after the last one.
func (s *Schedule) Next(ctx context.Context, timer *time.Timer) (time.Time, bool) {
	at := s.start.Add(time.Duration(float64(s.next.Add(1)-1) * s.gap))
	if !at.Before(s.end) {
		return at, false
	}
	return at, Until(ctx, timer, at)
}

// Until waits for a moment, and returns false if ctx ends first. The timer must not be in use.
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

// leastPause is the pause after an error for which the server asked no wait.
const leastPause = 100 * time.Millisecond

// Pause waits as long as a server asked, plus up to half of that, so that clients do not all return together. It returns false if ctx ends
// first. The timer must not be in use.
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
