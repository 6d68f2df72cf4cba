package password

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// from is a requester in a lane at 10.a.b.c.
func from(lane Lane, a, b, c byte) Requester {
	return Requester{Lane: lane, Address: netip.AddrFrom4([4]byte{10, a, b, c})}
}

// waits is a caller in the background that has joined a queue and reports what becomes of it.
func waits(t *testing.T, q *queue, r Requester, name string, log chan<- string) {
	t.Helper()
	go func() {
		release, err := q.enter(context.WithoutCancel(t.Context()), r)
		if err != nil {
			log <- name + " refused"
			return
		}
		log <- name
		release()
	}()
	synctest.Wait()
}

// order returns what became of callers, in order, once a busy worker is free.
func order(log chan string, release func()) (names []string) {
	release()
	synctest.Wait()
	close(log)
	for name := range log {
		names = append(names, name)
	}
	return names
}

// busy is a queue whose only worker is taken.
func busy(t *testing.T, places int) (q *queue, release func()) {
	t.Helper()
	q = newQueue(1, places, time.Minute)
	release, err := q.enter(t.Context(), Requester{})
	require.NoError(t, err)
	return q, release
}

func TestLanesTakeTurnsByTheirWeights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, release := busy(t, 100)
		log := make(chan string, 100)
		for i := range byte(12) {
			waits(t, q, from(Registrations, 1, i, 1), "r", log)
			waits(t, q, from(Logins, 2, i, 1), "l", log)
			waits(t, q, from(Known, 3, i, 1), "k", log)
		}
		count := map[string]int{}
		for _, name := range order(log, release)[:18] {
			count[name]++
		}
		require.InDelta(t, 9, count["k"], 1)
		require.InDelta(t, 6, count["l"], 1)
		require.InDelta(t, 3, count["r"], 1)
	})
}

func TestWithinALaneNetworksTakeTurnsAndWithinThemAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, release := busy(t, 100)
		log := make(chan string, 100)
		for i := range 3 {
			waits(t, q, from(Logins, 1, 1, 1), fmt.Sprint("many a", i), log)
		}
		waits(t, q, from(Logins, 1, 1, 2), "many b", log)
		waits(t, q, from(Logins, 1, 2, 1), "few", log)
		require.Equal(t, []string{"few", "many b", "many a0", "many a1", "many a2"}, order(log, release),
			"the network and the address that asked less first, then as they came")
	})
}

func TestAnIPv6NetworkIsA48AndAnAddressA64(t *testing.T) {
	for _, c := range []struct{ a, b, same string }{
		{"2001:db8:1:2::1", "2001:db8:1:2::2", "address"}, {"2001:db8:1:2::1", "2001:db8:1:3::1", "network"}, {"2001:db8:1::1", "2001:db8:2::1", "none"},
		{"192.0.2.1", "::ffff:192.0.2.1", "address"}, {"192.0.2.1", "192.0.2.2", "network"}, {"192.0.2.1", "192.0.3.1", "none"},
	} {
		an, aa := Requester{Address: netip.MustParseAddr(c.a)}.parties()
		bn, ba := Requester{Address: netip.MustParseAddr(c.b)}.parties()
		require.Equal(t, []bool{c.same != "none", c.same == "address"}, []bool{an == bn, aa == ba}, "%s and %s", c.a, c.b)
	}
}

func TestWhoeverHadLessLatelyIsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(1, 10, time.Minute)
		for range 4 {
			release, err := q.enter(t.Context(), from(Logins, 1, 1, 1))
			require.NoError(t, err)
			release()
		}
		for _, c := range []struct {
			pause time.Duration
			first string
		}{{0, "seldom"}, {100 * time.Hour, "often"}} {
			<-time.After(c.pause)
			release, err := q.enter(t.Context(), Requester{})
			require.NoError(t, err)
			log := make(chan string, 10)
			waits(t, q, from(Logins, 1, 1, 1), "often", log)
			waits(t, q, from(Logins, 1, 2, 1), "seldom", log)
			require.Equal(t, c.first, order(log, release)[0], "after %s", c.pause)
		}
	})
}

func TestAtFullPlacesTheHeaviestNetworkLosesItsNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, release := busy(t, 3)
		log := make(chan string, 100)
		waits(t, q, from(Logins, 1, 1, 1), "a", log)
		waits(t, q, from(Logins, 1, 1, 1), "b", log)
		waits(t, q, from(Logins, 1, 1, 2), "c", log)
		waits(t, q, from(Logins, 1, 1, 1), "d", log) // a network alone gives way to itself
		waits(t, q, from(Logins, 1, 2, 1), "e", log)
		require.Equal(t, "d refused", <-log)
		require.Equal(t, "b refused", <-log, "the newest of the address that holds most, not the one that holds nothing")
		waits(t, q, from(Registrations, 1, 1, 1), "r", log)
		waits(t, q, from(Known, 1, 1, 1), "k", log)
		require.ElementsMatch(t, []string{"a refused", "c refused"}, []string{<-log, <-log}, "each lane has its share of the places")
		require.ElementsMatch(t, []string{"e", "r", "k"}, order(log, release))
	})
}

// TestAQueueLosesNobody: whatever callers do, each is answered, and in the end nobody works or waits.
func TestAQueueLosesNobody(t *testing.T) {
	const workers = 3
	q := newQueue(workers, 8, time.Millisecond)
	var working, served atomic.Int64
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			for n := range 100 {
				ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
				if (i+n)%3 == 0 {
					go cancel()
				}
				release, err := q.enter(ctx, from(Lane(i%lanes), byte(i), byte(n%2), 1))
				if err == nil {
					if working.Add(1) > workers {
						t.Error("too many work")
					}
					served.Add(1)
					working.Add(-1)
					release()
				} else if !errors.Is(err, ErrAtCapacity) && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	all.Wait()
	require.Positive(t, served.Load())
	require.Equal(t, workers, q.free)
	require.Zero(t, q.waiting)
	for _, l := range q.lanes {
		require.Empty(t, l.waiters)
		for _, r := range append(l.networks.lru.Values(), l.addresses.lru.Values()...) {
			require.Zero(t, r.waiting)
		}
	}
}

// flood is 200 attackers, each of whom tries to log in and to register, one attempt after the other.
type flood struct{ networks int }

func (f flood) requester(lane Lane, i int) Requester {
	if f.networks == 1 {
		return from(lane, 1, 1, byte(i))
	}
	return from(lane, 1, byte(i), 1)
}

// TestHonestUsersAreServedInAFlood of 200 addresses, in as many networks or in one: one worker, 100 ms a hash, as many places and as long a wait as
// by default.
func TestHonestUsersAreServedInAFlood(t *testing.T) {
	const attackers, hash, pause, patience = 200, 100 * time.Millisecond, 500 * time.Millisecond, 5 * time.Second
	honest := []struct {
		name      string
		requester func(i byte) Requester
		tries     int
		every     time.Duration
		most      time.Duration
	}{
		{"a known user", func(byte) Requester { return from(Known, 2, 1, 1) }, 100, time.Second, 2 * hash},
		{"users at new addresses", func(i byte) Requester { return from(Logins, 2, i, 1) }, 20, 5 * time.Second, 10 * hash},
		{"new users", func(i byte) Requester { return from(Registrations, 2, i, 1) }, 20, 5 * time.Second, 10 * hash},
	}
	for _, f := range []flood{{networks: attackers}, {networks: 1}} {
		t.Run(fmt.Sprint("from networks: ", f.networks), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := newQueue(1, 64, patience)
				ctx, stop := context.WithCancel(t.Context())
				try := func(r Requester) (time.Duration, bool) {
					began := time.Now()
					release, err := q.enter(ctx, r)
					if err != nil {
						return time.Since(began), false
					}
					waited := time.Since(began)
					<-time.After(hash)
					release()
					return waited, true
				}
				var all sync.WaitGroup
				var refused atomic.Int64
				for i := range attackers {
					for _, lane := range []Lane{Logins, Registrations} {
						all.Go(func() {
							for ctx.Err() == nil {
								if _, ok := try(f.requester(lane, i)); !ok {
									refused.Add(1)
								}
								<-time.After(pause)
							}
						})
					}
				}
				<-time.After(40 * time.Second)
				var users sync.WaitGroup
				for _, u := range honest {
					users.Go(func() {
						var longest time.Duration
						served := 0
						for i := range u.tries {
							waited, ok := try(u.requester(byte(i)))
							if ok {
								served++
								longest = max(longest, waited)
							}
							<-time.After(u.every)
						}
						if served < u.tries || longest > u.most {
							t.Errorf("%s: %d of %d served, waited up to %s", u.name, served, u.tries, longest)
						}
						t.Logf("%s: %d of %d served, waited up to %s", u.name, served, u.tries, longest)
					})
				}
				users.Wait()
				if refused.Load() == 0 {
					t.Error("that was no flood")
				}
				stop()
				all.Wait()
			})
		})
	}
}
