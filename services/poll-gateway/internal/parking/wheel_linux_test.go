package parking

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// turned advances a wheel by d.
func turned(w *wheel, d time.Duration) { w.start = w.start.Add(-d) }

func TestADeadlineIsMetOnceAndNeverEarly(t *testing.T) {
	const half = slots * tick / 2
	w := &wheel{start: time.Now(), wake: func() {}}
	near, far, never := new(Spot), new(Spot), new(Spot)
	w.set(near, tick)
	w.set(far, 3*half) // a turn and a half
	w.set(never, 3*half)
	require.Empty(t, w.expired())
	turned(w, 2*tick)
	require.Equal(t, []*Spot{near}, w.expired())
	require.False(t, w.has(near))
	turned(w, half)
	require.Empty(t, w.expired(), "it is due at this slot's next turn")
	turned(w, half)
	w.clear(never)
	w.clear(never)
	require.Empty(t, w.expired())
	turned(w, half)
	require.Equal(t, []*Spot{far}, w.expired())
	require.Zero(t, w.count)
}

func TestAWheelThatStoodStillMissesNothing(t *testing.T) {
	w := &wheel{start: time.Now(), wake: func() {}}
	spots := make([]Spot, 300)
	for i := range spots {
		w.set(&spots[i], time.Duration(i)*10*tick)
	}
	turned(w, 10*slots*tick)
	require.Len(t, w.expired(), len(spots))
	w.set(&spots[0], 0)
	require.Empty(t, w.expired(), "not before the next tick")
	turned(w, tick)
	require.Len(t, w.expired(), 1)
}

func TestAnotherDeadlineReplacesTheFirst(t *testing.T) {
	woken := 0
	w := &wheel{start: time.Now(), wake: func() { woken++ }}
	s := new(Spot)
	w.set(s, tick)
	w.set(s, 10*tick)
	require.Equal(t, 1, w.count)
	turned(w, 5*tick)
	require.Empty(t, w.expired())
	turned(w, 6*tick)
	require.Equal(t, []*Spot{s}, w.expired())
	require.Equal(t, 2, woken)
}
