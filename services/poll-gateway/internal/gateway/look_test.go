package gateway

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

// TestAUserWhomAHintNamesIsReadFromTheStoreAtOnce, for waiters and for later polls. No other user is.
func TestAUserWhomAHintNamesIsReadFromTheStoreAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, 10*time.Minute))
		pass(5 * time.Second)
		r.shelf.add(store.Received)
		reads := r.shelf.readCount()
		r.Hinted([]string{"carol", "stranger"})
		pass(5 * time.Second)
		require.Equal(t, reads, r.shelf.readCount())
		began := time.Now()
		r.Hinted([]string{"carol", "bob"})
		got := <-poll
		require.Equal(t, []int64{1}, positions(t, got.Answer))
		require.Less(t, time.Since(began), 100*time.Millisecond)

		r.shelf.add(store.Received)
		r.Hinted([]string{"bob"}) // while nobody waits
		again, err := r.Poll(t.Context(), r.query(1, 0))
		require.NoError(t, err)
		require.Equal(t, []int64{2}, positions(t, again))
	})
}

// TestAHintForEverybodyIsADisruption: all are read, spread over time.
func TestAHintForEverybodyIsADisruption(t *testing.T) {
	bubble(t, func(t *testing.T) {
		r := newRig(t)
		poll := r.start(r.query(0, 10*time.Minute))
		pass(5 * time.Second)
		r.shelf.add(store.Received)
		began := time.Now()
		r.Hinted(nil)
		got := <-poll
		require.Equal(t, []int64{1}, positions(t, got.Answer))
		require.LessOrEqual(t, time.Since(began), 1500*time.Millisecond)
	})
}
