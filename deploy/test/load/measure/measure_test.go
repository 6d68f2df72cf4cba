package measure

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPercentilesAreThoseOfWhatWasRecorded(t *testing.T) {
	start := time.Now()
	s := NewSeries("x", start)
	s.Record(start.Add(-time.Second), time.Hour) // before the series began
	for i := range 1000 {
		s.Record(start.Add(time.Duration(i)*2*time.Millisecond), time.Duration(i+1)*time.Millisecond)
	}
	sum := s.Summary()
	require.EqualValues(t, 1000, sum.Count)
	require.InEpsilon(t, 500, sum.At(50), 0.01)
	require.InEpsilon(t, 990, sum.At(99), 0.01)
	require.InEpsilon(t, 1000, sum.Max, 0.01)
	require.InEpsilon(t, 1, sum.Min, 0.01)
	require.InEpsilon(t, 500.5, sum.Mean, 0.01)
	require.Zero(t, sum.At(12))
	require.InEpsilon(t, 500.5, s.Rate(), 0.01)
	require.Len(t, sum.Timeline, 2)
	require.EqualValues(t, 500, sum.Timeline[0].Count)
	require.Equal(t, 1, sum.Timeline[1].Second)
	require.InEpsilon(t, 750, sum.Timeline[1].P50, 0.02)
}

func TestWhatIsTooLongOrTooShortIsCountedAllTheSame(t *testing.T) {
	s := NewSeries("x", time.Now())
	require.Zero(t, s.Rate())
	s.Record(time.Now().Add(time.Second), 0, 24*time.Hour, -time.Second)
	require.EqualValues(t, 3, s.Count())
	require.Greater(t, s.Quantile(100), 9*time.Minute)
}

// TestAStallIsCountedAgainstAllThatWasToHappenMeanwhile: with coordinated omission the stall would count only once.
func TestAStallIsCountedAgainstAllThatWasToHappenMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		schedule := NewSchedule(start, start.Add(time.Second), 100)
		s, timer := NewSeries("x", start), StoppedTimer()
		n := 0
		for ; ; n++ {
			at, ok := schedule.Next(t.Context(), timer)
			if !ok {
				break
			}
			if n == 0 {
				require.True(t, Until(t.Context(), StoppedTimer(), start.Add(500*time.Millisecond)))
			}
			s.Record(time.Now(), time.Since(at))
		}
		require.Equal(t, 100, n)
		require.Equal(t, 990*time.Millisecond, time.Since(start), "the schedule was not caught up with")
		require.InDelta(t, 500, s.Quantile(100).Milliseconds(), 2)
		require.InDelta(t, 250, s.Quantile(75).Milliseconds(), 12, "half of the sends were late, by 250 ms on average")
	})
}

func TestAScheduleEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, ok := NewSchedule(time.Now().Add(time.Hour), time.Now().Add(2*time.Hour), 1).Next(ctx, StoppedTimer())
	require.False(t, ok)
}

func TestAPauseIsAsLongAsTheServerAskedAndJittered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		require.True(t, Pause(t.Context(), StoppedTimer(), 2*time.Second))
		require.GreaterOrEqual(t, time.Since(began), 2*time.Second)
		require.Less(t, time.Since(began), 3*time.Second)
	})
}
