package gateway

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// truth is a store with an epoch. It may fail or hang.
type truth struct {
	epoch string
	err   error
	hang  chan struct{}
}

func (s *truth) load(ctx context.Context) (string, error) {
	if s.hang != nil {
		select {
		case <-s.hang:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return s.epoch, s.err
}

func TestTheEpochIsKnownWhileTheStoreIsAwayOrHangs(t *testing.T) {
	for name, fail := range map[string]func(*truth){
		"away":  func(s *truth) { s.err = errors.New("away") },
		"hangs": func(s *truth) { s.hang = make(chan struct{}) },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &truth{epoch: "one"}
			e := NewEpochs(s.load)
			known, err := e.Is(t.Context(), "one")
			require.NoError(t, err, name)
			require.True(t, known, name)
			fail(s)
			for range 10 {
				<-time.After(epochAge) // of the bubble
				synctest.Wait()
				began := time.Now()
				current, err := e.Current(t.Context())
				require.NoError(t, err, name)
				require.Equal(t, "one", current, name)
				require.Zero(t, time.Since(began), "%s: it was waited for", name)
				synctest.Wait()
			}
		})
	}
}

func TestAnotherEpochIsLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &truth{epoch: "one"}
		e := NewEpochs(s.load)
		current, err := e.Current(t.Context())
		require.NoError(t, err)
		require.Equal(t, "one", current)
		s.epoch = "two"
		<-time.After(epochRecheck)             // of the bubble
		known, err := e.Is(t.Context(), "two") // a claim makes it ask
		require.NoError(t, err)
		require.True(t, known)
		s.epoch = "three"
		<-time.After(epochStale) // of the bubble
		current, err = e.Current(t.Context())
		require.NoError(t, err)
		require.Equal(t, "three", current)
	})
}

func TestWhileTheFirstEpochIsAskedForClientsMayGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &truth{hang: make(chan struct{})}
		e := NewEpochs(s.load)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := e.Current(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		s.epoch = "one"
		close(s.hang)
		current, err := e.Current(t.Context())
		require.NoError(t, err)
		require.Equal(t, "one", current)
	})
}

// TestWhoIsToldThatTheLogIsAnotherIsNotToldOfTheOldEpoch: onChange ends the polls before the new epoch is given out, and their handlers
// then ask for it.
func TestWhoIsToldThatTheLogIsAnotherIsNotToldOfTheOldEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &truth{epoch: "one"}
		e := NewEpochs(s.load)
		_, err := e.Current(t.Context())
		require.NoError(t, err)
		told := make(chan string, 2)
		e.changed(func() {
			_, known := e.Known(t.Context())
			require.False(t, known)
			for _, ask := range []func(context.Context) (string, error){e.Current, e.Recheck} {
				go func() {
					current, err := ask(t.Context())
					require.NoError(t, err)
					told <- current
				}()
			}
			<-time.After(time.Millisecond) // of the bubble: both have asked
		})
		s.epoch = "two"
		<-time.After(epochRecheck) // of the bubble
		_, err = e.Recheck(t.Context())
		require.NoError(t, err)
		require.Equal(t, "two", <-told)
		require.Equal(t, "two", <-told)
		current, known := e.Known(t.Context())
		require.True(t, known)
		require.Equal(t, "two", current)
	})
}
