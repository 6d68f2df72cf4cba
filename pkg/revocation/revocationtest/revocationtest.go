// Package revocationtest has the contract of revocation.Log as tests, which every adapter passes, and a log in memory for tests of the
// packages above it.
package revocationtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/revocation"
)

const (
	// soon is how long a test waits for a condition.
	soon = 15 * time.Second
	// often is the "few seconds" within which current is called again for an idle follower.
	often = 10 * time.Second
)

// Run tests the logs that newLog makes against the contract. Each must start empty.
func Run(t *testing.T, newLog func(t *testing.T) revocation.Log) {
	cases := []struct {
		name string
		test func(*testing.T, revocation.Log)
	}{
		{"a follower is handed what was there, oldest first, and then told so", handedThenCurrent},
		{"an empty log is current at once", emptyIsCurrent},
		{"a follower is handed what comes later, in order", handedLater},
		{"records come back as they were", recordsComeBack},
		{"expired records are not handed over", expiredAreNot},
		{"all followers see one order", oneOrder},
		{"of concurrent appends none is lost or doubled", concurrentAppends},
		{"appends while a follower catches up are not missed", appendsDuringCatchUp},
		{"an idle follower is told again and again", toldAgain},
		{"a follower ends with its context", endsWithContext},
		{"an append that fails says that the log is unavailable", failedAppend},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.test(t, newLog(t)) })
	}
}

// record makes a record that refuses the n-th token; its id tells it apart.
func record(n int) revocation.Record {
	return revocation.Record{
		TokenID: fmt.Sprint("token", n), Subject: "alice",
		ExpiresAt: time.Now().Add(time.Hour).UTC().Truncate(time.Millisecond),
	}
}

func appendAll(t *testing.T, l revocation.Log, records ...revocation.Record) {
	t.Helper()
	for _, r := range records {
		require.NoError(t, l.Append(t.Context(), r))
	}
}

// follower records the calls of a log's Follow.
type follower struct {
	mu      sync.Mutex
	ids     []string
	records []revocation.Record
	// heldAt is how many records had been delivered at each call of current.
	heldAt []int
	done   chan error
	stop   context.CancelFunc
}

// follow starts a follower that stops with the test.
func follow(t *testing.T, l revocation.Log) *follower {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	f := &follower{done: make(chan error, 1), stop: cancel}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.done <- l.Follow(ctx, f.apply, f.current)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return f
}

func (f *follower) apply(r revocation.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids = append(f.ids, r.TokenID)
	f.records = append(f.records, r)
}

func (f *follower) current() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heldAt = append(f.heldAt, len(f.ids))
}

// seen returns the delivered ids, and the number of calls of current.
func (f *follower) seen() (ids []string, currents int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ids), len(f.heldAt)
}

func (f *follower) waitForRecords(t *testing.T, n int) []string {
	t.Helper()
	require.Eventually(t, func() bool { ids, _ := f.seen(); return len(ids) >= n }, soon, time.Millisecond, "%d records", n)
	ids, _ := f.seen()
	return ids
}

func (f *follower) waitForCurrent(t *testing.T, n int, within time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool { _, currents := f.seen(); return currents >= n }, within, time.Millisecond, "current, time %d", n)
}

func handedThenCurrent(t *testing.T, l revocation.Log) {
	appendAll(t, l, record(1), record(2), record(3))
	f := follow(t, l)
	f.waitForCurrent(t, 1, soon)
	f.mu.Lock()
	defer f.mu.Unlock()
	require.Equal(t, 3, f.heldAt[0], "current only when nothing is missing")
	require.Equal(t, []string{"token1", "token2", "token3"}, f.ids)
}

func emptyIsCurrent(t *testing.T, l revocation.Log) {
	f := follow(t, l)
	f.waitForCurrent(t, 1, soon)
	ids, _ := f.seen()
	require.Empty(t, ids)
}

func handedLater(t *testing.T, l revocation.Log) {
	appendAll(t, l, record(1))
	f := follow(t, l)
	f.waitForCurrent(t, 1, soon)
	appendAll(t, l, record(2), record(3))
	require.Equal(t, []string{"token1", "token2", "token3"}, f.waitForRecords(t, 3))
}

func recordsComeBack(t *testing.T, l revocation.Log) {
	one := record(1)
	all := revocation.Record{Subject: "bob_7", MinGeneration: 1 << 40, ExpiresAt: one.ExpiresAt.Add(30 * 24 * time.Hour)}
	appendAll(t, l, one, all)
	f := follow(t, l)
	f.waitForRecords(t, 2)
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, want := range []revocation.Record{one, all} {
		got := f.records[i]
		require.True(t, want.ExpiresAt.Equal(got.ExpiresAt), "%s, want %s", got.ExpiresAt, want.ExpiresAt)
		got.ExpiresAt = want.ExpiresAt // the same instant, but perhaps in another zone
		require.Equal(t, want, got)
	}
}

func expiredAreNot(t *testing.T, l revocation.Log) {
	old := record(1)
	old.ExpiresAt = time.Now().Add(-time.Hour)
	appendAll(t, l, old, record(2))
	f := follow(t, l)
	f.waitForCurrent(t, 1, soon)
	ids, _ := f.seen()
	require.Equal(t, []string{"token2"}, ids)
}

func oneOrder(t *testing.T, l revocation.Log) {
	const writers, each = 4, 10
	early := follow(t, l)
	appendConcurrently(t, l, writers, each)
	late := follow(t, l)
	require.Equal(t, early.waitForRecords(t, writers*each), late.waitForRecords(t, writers*each))
}

func concurrentAppends(t *testing.T, l revocation.Log) {
	const writers, each = 8, 10
	f := follow(t, l)
	appendConcurrently(t, l, writers, each)
	appendAll(t, l, record(-1))
	ids := f.waitForRecords(t, writers*each+1)
	require.Equal(t, "token-1", ids[len(ids)-1], "appended last")
	slices.Sort(ids)
	require.Len(t, slices.Compact(ids), writers*each+1)
}

func appendConcurrently(t *testing.T, l revocation.Log, writers, each int) {
	t.Helper()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				assert.NoError(t, l.Append(t.Context(), record(w*each+i)))
			}
		})
	}
	wg.Wait()
}

func appendsDuringCatchUp(t *testing.T, l revocation.Log) {
	const before, during = 50, 50
	for n := range before {
		appendAll(t, l, record(n))
	}
	f := follow(t, l)
	for n := range during {
		appendAll(t, l, record(before+n))
	}
	ids := f.waitForRecords(t, before+during)
	for n, id := range ids {
		require.Equal(t, fmt.Sprint("token", n), id)
	}
}

func toldAgain(t *testing.T, l revocation.Log) {
	f := follow(t, l)
	f.waitForCurrent(t, 1, soon)
	_, n := f.seen()
	f.waitForCurrent(t, n+1, often)
	_, n = f.seen()
	f.waitForCurrent(t, n+1, often)
}

func endsWithContext(t *testing.T, l revocation.Log) {
	f := follow(t, l)
	f.waitForCurrent(t, 1, soon)
	f.stop()
	select {
	case err := <-f.done:
		require.Error(t, err, "the reason")
	case <-time.After(soon):
		t.Fatal("follows on without a context")
	}
}

func failedAppend(t *testing.T, l revocation.Log) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, l.Append(ctx, record(1)), revocation.ErrUnavailable)
}
