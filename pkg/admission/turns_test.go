package admission

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// line is what waits for Turns, each piece with a name, and the order in which their turns came.
type line struct {
	t     *testing.T
	turns *Turns
	mu    sync.Mutex
	order []string
	end   map[string]func()
}

func newLine(t *testing.T, atOnce int) *line {
	return &line{t: t, turns: NewTurns(atOnce), end: map[string]func(){}}
}

func from(network byte, user string) Holder {
	return Holder{User: user, Network: NetworkOf(netip.AddrFrom4([4]byte{10, 0, network, 1}))}
}

// add puts a piece of work at the end of the line.
func (l *line) add(ctx context.Context, who Holder, name string) {
	go func() {
		release, err := l.turns.Take(ctx, who)
		if err != nil {
			return
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.order = append(l.order, name)
		l.end[name] = release
	}()
	synctest.Wait()
}

// finish ends what is under way, one after the other, until nothing is.
func (l *line) finish() []string {
	for i := 0; i < len(l.order); i++ {
		l.end[l.order[i]]()
		synctest.Wait()
	}
	return l.order
}

func TestTurnsGoByNetworkAndThenByUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := newLine(t, 1), t.Context()
		l.add(ctx, from(1, "eve"), "under way")
		for i := range 3 {
			l.add(ctx, from(1, "eve"), fmt.Sprint("eve ", i))
			l.add(ctx, from(1, "mallory"), fmt.Sprint("mallory ", i))
		}
		l.add(ctx, from(2, "ann"), "ann 0")
		l.add(ctx, from(2, "ann"), "ann 1")
		require.Equal(t, []string{"under way", "eve 0", "ann 0", "mallory 0", "ann 1", "eve 1", "mallory 1", "eve 2", "mallory 2"}, l.finish())
		require.Equal(t, 1, l.turns.free)
	})
}

func TestWhoHasGoneHasNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, ctx := newLine(t, 1), t.Context()
		gone, leave := context.WithCancel(ctx)
		l.add(ctx, from(1, "eve"), "under way")
		l.add(gone, from(1, "eve"), "gone")
		l.add(gone, from(2, "ben"), "gone")
		l.add(ctx, from(2, "ben"), "ben")
		leave()
		synctest.Wait()
		require.Len(t, l.turns.networks, 1)
		require.Equal(t, []string{"under way", "ben"}, l.finish())
		require.Equal(t, 1, l.turns.free)
		require.Empty(t, l.turns.networks)
	})
}

// TestTurnsLoseNoPlace when callers leave at the moment of their turn.
func TestTurnsLoseNoPlace(t *testing.T) {
	const atOnce = 3
	turns := NewTurns(atOnce)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for range 500 {
				ctx, leave := context.WithCancel(t.Context())
				go leave()
				if release, err := turns.Take(ctx, from(byte(i%4), fmt.Sprint("user", i))); err == nil {
					release()
				}
			}
		})
	}
	all.Wait()
	require.Equal(t, atOnce, turns.free)
	require.Empty(t, turns.networks)
}
