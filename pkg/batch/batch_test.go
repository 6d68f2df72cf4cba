package batch_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/batch"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gate holds batches and signals each one that begins.
type gate struct {
	begun chan []int
	goOn  chan error
}

func newGate() *gate { return &gate{begun: make(chan []int), goOn: make(chan error)} }

// run doubles the items once goOn lets it.
func (g *gate) run(_ context.Context, items []int) ([]int, error) {
	g.begun <- append([]int(nil), items...)
	if err := <-g.goOn; err != nil {
		return nil, err
	}
	doubled := make([]int, len(items))
	for i, n := range items {
		doubled[i] = 2 * n
	}
	return doubled, nil
}

func start(t *testing.T, c batch.Config, g *gate) *batch.Batcher[int, int] {
	t.Helper()
	b := batch.New(c, func(n int) int { return n }, g.run)
	t.Cleanup(b.Stop)
	return b
}

const (
	patience = 20 * time.Second
	tick     = time.Millisecond
)

var wide = batch.Config{Queue: 10, Items: 10, Bytes: 1000}

// enqueue calls Do in a goroutine for each list, in order.
func enqueue(ctx context.Context, b *batch.Batcher[int, int], lists ...[]int) (results []chan []int, errs []chan error) {
	for _, list := range lists {
		r, e := make(chan []int, 1), make(chan error, 1)
		results, errs = append(results, r), append(errs, e)
		var entered sync.WaitGroup
		entered.Add(1)
		go func() {
			entered.Done()
			got, err := b.Do(ctx, list)
			r <- got
			e <- err
		}()
		entered.Wait()
	}
	return results, errs
}

func TestWhoArrivesDuringABatchSharesTheNextAndGetsTheirOwnResults(t *testing.T) {
	g := newGate()
	b := start(t, wide, g)
	first, _ := enqueue(t.Context(), b, []int{1})
	require.Equal(t, []int{1}, <-g.begun)
	const callers = 5
	var others []chan []int
	for n := range callers {
		r, _ := enqueue(t.Context(), b, []int{10 + n, 20 + n})
		others = append(others, r...)
	}
	g.goOn <- nil
	require.Equal(t, []int{2}, <-first[0])
	for done := 0; done < 2*callers; { // all in one batch, unless one of them came late
		done += len(<-g.begun)
		g.goOn <- nil
	}
	for n, r := range others {
		require.Equal(t, []int{2 * (10 + n), 2 * (20 + n)}, <-r)
	}
}

func TestItIsToldHowLongEachCallerWaited(t *testing.T) {
	g, waits := newGate(), make(chan time.Duration, 3)
	b := start(t, batch.Config{Queue: 10, Items: 10, Bytes: 1000, Waited: func(d time.Duration) { waits <- d }}, g)
	began := time.Now()
	first, _ := enqueue(t.Context(), b, []int{1})
	<-g.begun
	require.LessOrEqual(t, <-waits, time.Since(began))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Do(gone, []int{2})
	require.ErrorIs(t, err, context.Canceled)
	second, _ := enqueue(t.Context(), b, []int{3})
	g.goOn <- nil
	<-first[0]
	<-g.begun
	g.goOn <- nil
	<-second[0]
	require.LessOrEqual(t, <-waits, time.Since(began))
	require.Empty(t, waits, "who had given up was not served")
}

func TestAFailureIsThatOfItsBatchAlone(t *testing.T) {
	g := newGate()
	b := start(t, wide, g)
	broken := errors.New("broken")
	_, errs := enqueue(t.Context(), b, []int{1})
	<-g.begun
	g.goOn <- broken
	require.ErrorIs(t, <-errs[0], broken)
	results, _ := enqueue(t.Context(), b, []int{2})
	<-g.begun
	g.goOn <- nil
	require.Equal(t, []int{4}, <-results[0])
}

func TestABatchIsBoundedAndACallersItemsStayTogether(t *testing.T) {
	for what, c := range map[string]batch.Config{
		"items": {Queue: 10, Items: 3, Bytes: 1000},
		"bytes": {Queue: 10, Items: 10, Bytes: 15},
	} {
		g := newGate()
		b := start(t, c, g)
		results, _ := enqueue(t.Context(), b, []int{5, 5}, []int{5, 5}, []int{5, 5, 5, 5, 5})
		sizes := map[int]int{}
		for range 3 {
			sizes[len(<-g.begun)]++
			g.goOn <- nil
		}
		require.Equal(t, map[int]int{2: 2, 5: 1}, sizes, what)
		for _, r := range results {
			<-r
		}
	}
}

// TestASmallRequestDoesNotWaitBehindTheLargeOnesBeforeIt, except behind one; and large ones still make progress.
func TestASmallRequestDoesNotWaitBehindTheLargeOnesBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		b := batch.New(batch.Config{Queue: 100, Items: 160, Bytes: 1 << 20}, func(int) int { return 1 }, g.run)
		defer b.Stop()
		enqueue(t.Context(), b, []int{0})
		<-g.begun
		synctest.Wait()
		large := make([]int, 100) // no two of them fit into a batch
		for range 5 {
			enqueue(t.Context(), b, large)
			synctest.Wait()
		}
		small := func(n int) { enqueue(t.Context(), b, []int{n}); synctest.Wait() }
		small(1)
		g.goOn <- nil
		for n := 1; n <= 5; n++ {
			got := <-g.begun
			require.Len(t, got, 101, "one large one and all small ones")
			require.Equal(t, n, got[100])
			small(n + 1)
			g.goOn <- nil
		}
		require.Equal(t, []int{6}, <-g.begun)
		g.goOn <- nil
	})
}

// TestOwnersTakeTurns: who has handed much in keeps nobody else waiting, and each one's requests stay in their order.
func TestOwnersTakeTurns(t *testing.T) {
	for what, c := range map[string]struct {
		size, room int
		batches    [][]int
	}{
		"small": {1, 16, [][]int{{10, 20, 30, 40, 11, 21, 12, 13, 14}}},
		"large": {11, 33, [][]int{{10, 20, 30}, {40, 11, 21}, {12, 13, 14}}},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newGate()
			b := batch.New(batch.Config{Queue: 100, Items: c.room, Bytes: 1 << 20}, func(int) int { return 1 }, g.run)
			defer b.Stop()
			enqueue(t.Context(), b, []int{0})
			<-g.begun
			synctest.Wait()
			hand := func(owner string, n int) {
				enqueue(batch.For(t.Context(), owner), b, slices.Repeat([]int{n}, c.size))
				synctest.Wait()
			}
			for n := range 5 {
				hand("eve", 10+n)
			}
			hand("ann", 20)
			hand("bob", 30)
			hand("ann", 21)
			hand("", 40)
			g.goOn <- nil
			for _, want := range c.batches {
				require.Equal(t, want, slices.Compact(<-g.begun), what)
				g.goOn <- nil
			}
			synctest.Wait()
			require.Zero(t, b.Waiting())
		})
	}
}

// TestLargeRequestsShareABatchOnlyAmongThemselves: a small one waits for one of them.
func TestLargeRequestsShareABatchOnlyAmongThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		b := batch.New(batch.Config{Queue: 100, Items: 160, Bytes: 1 << 20}, func(int) int { return 1 }, g.run)
		defer b.Stop()
		enqueue(t.Context(), b, []int{0})
		<-g.begun
		synctest.Wait()
		for range 4 {
			enqueue(t.Context(), b, make([]int, 50))
			synctest.Wait()
		}
		enqueue(t.Context(), b, []int{1})
		synctest.Wait()
		g.goOn <- nil
		for _, size := range []int{51, 150} {
			require.Len(t, <-g.begun, size)
			g.goOn <- nil
		}
	})
}

// TestABatchHasTheTimeOfTheRequestThatHasTheMost: wherever in the batch that request is.
func TestABatchHasTheTimeOfTheRequestThatHasTheMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan struct{}, 2)
		b := batch.New(wide, func(int) int { return 1 }, func(ctx context.Context, items []int) ([]int, error) {
			begun <- struct{}{}
			select {
			case <-time.After(time.Second):
				return items, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		defer b.Stop()
		enqueue(t.Context(), b, []int{0})
		<-begun
		short, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		long, cancelLong := context.WithTimeout(t.Context(), time.Minute)
		defer cancelLong()
		results, _ := enqueue(long, b, []int{7})
		synctest.Wait()
		enqueue(short, b, []int{8})
		synctest.Wait()
		require.Equal(t, []int{7}, <-results[0])
	})
}

func TestAFullQueueIsSaidToBe(t *testing.T) {
	g := newGate()
	b := start(t, batch.Config{Queue: 1, Items: 1, Bytes: 1000}, g)
	_, first := enqueue(t.Context(), b, []int{1})
	<-g.begun // nothing is in the queue
	waiting, cancel := context.WithCancel(t.Context())
	_, _ = enqueue(waiting, b, []int{2})
	require.Eventually(t, func() bool {
		gaveUp, end := context.WithCancel(t.Context())
		end()
		_, err := b.Do(gaveUp, []int{3})
		return errors.Is(err, batch.ErrFull)
	}, patience, tick)
	cancel()
	g.goOn <- nil
	require.NoError(t, <-first[0])
}

func TestWhoHasGivenUpIsLeftOut(t *testing.T) {
	g := newGate()
	b := start(t, wide, g)
	_, first := enqueue(t.Context(), b, []int{1})
	<-g.begun
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Do(gone, []int{2})
	require.ErrorIs(t, err, context.Canceled)
	results, _ := enqueue(t.Context(), b, []int{3})
	g.goOn <- nil
	require.NoError(t, <-first[0])
	require.Equal(t, []int{3}, <-g.begun)
	g.goOn <- nil
	require.Equal(t, []int{6}, <-results[0])
}

func TestStopWaitsForTheBatchUnderWayAndRefusesTheRest(t *testing.T) {
	g := newGate()
	b := start(t, wide, g)
	first, _ := enqueue(t.Context(), b, []int{1})
	<-g.begun
	stopped := make(chan struct{})
	go func() {
		b.Stop()
		close(stopped)
	}()
	g.goOn <- nil
	require.Equal(t, []int{2}, <-first[0])
	<-stopped
	_, err := b.Do(t.Context(), []int{2})
	require.ErrorIs(t, err, batch.ErrStopped)
}
