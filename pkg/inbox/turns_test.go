package inbox

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
)

// begins calls begin in a goroutine and waits until it has answered or waits itself.
func begins(ctx context.Context, r *repeats, id store.MessageID) <-chan [2]bool {
	answer := make(chan [2]bool, 1)
	go func() {
		likely, mine := r.begin(ctx, "Eve", id)
		answer <- [2]bool{likely, mine}
	}()
	synctest.Wait()
	return answer
}

func TestSendsUnderOneIDTakeTurnsInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, id := newRepeats(), store.MessageID{1}
		require.Equal(t, [2]bool{false, true}, <-begins(t.Context(), r, id))
		second, third := begins(t.Context(), r, id), begins(t.Context(), r, id)
		require.Equal(t, [2]bool{false, true}, <-begins(t.Context(), r, store.MessageID{2}), "others do not wait")
		require.Empty(t, second)
		r.end(id)
		require.Equal(t, [2]bool{true, true}, <-second, "it is likely to be a repeat")
		require.Empty(t, third)
		r.end(id)
		require.Equal(t, [2]bool{true, true}, <-third)
		r.end(id)
		require.Equal(t, [2]bool{true, true}, <-begins(t.Context(), r, id), "the id is known")
	})
}

// TestASendDoesNotWaitForOneThatHangs: the store decides between them.
func TestASendDoesNotWaitForOneThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, id := newRepeats(), store.MessageID{1}
		<-begins(t.Context(), r, id)
		began := time.Now()
		impatient, cancel := context.WithTimeout(t.Context(), turnTimeout/2)
		defer cancel()
		second, third := begins(impatient, r, id), begins(t.Context(), r, id)
		require.Equal(t, [2]bool{true, false}, <-second)
		require.Equal(t, turnTimeout/2, time.Since(began))
		require.Equal(t, [2]bool{true, false}, <-third)
		require.Equal(t, turnTimeout, time.Since(began))
		r.end(id)
		require.Empty(t, r.underWay)
	})
}

func TestASenderIsLookedUpForAnHourAfterItsLastRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRepeats()
		next := byte(0)
		looksUp := func() bool {
			next++
			likely, _ := r.begin(t.Context(), "Eve", store.MessageID{next})
			return likely
		}
		pass := func(d time.Duration) { <-time.After(d) }
		r.found("Eve")
		require.False(t, looksUp(), "its repeat took nothing")
		r.wasted("Eve")
		likely, _ := r.begin(t.Context(), "Alice", store.MessageID{0})
		require.False(t, likely, "others are not looked up")
		require.True(t, looksUp())
		pass(suspicion - 1)
		require.True(t, looksUp())
		r.found("Eve")
		pass(suspicion - 1)
		require.True(t, looksUp())
		pass(1)
		require.False(t, looksUp())
	})
}
