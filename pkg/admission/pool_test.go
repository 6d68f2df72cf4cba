package admission_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/admission"
)

// owner notes that its holding has given way.
type owner struct{ displaced int }

func (o *owner) Displaced() { o.displaced++ }

func from(user string, network int) admission.Holder {
	return admission.Holder{User: user, Network: admission.NetworkOf(netip.AddrFrom4([4]byte{10, byte(network >> 8), byte(network), 1}))}
}

// graceTime is the age from which progress is judged, and a little more.
const graceTime = 101 * time.Millisecond

// loose takes a loose holding.
func loose(t *testing.T, p *admission.Pool, who admission.Holder, n int64) (*admission.Holding, *owner) {
	t.Helper()
	h := p.Take(who, n)
	require.NotNil(t, h)
	o := new(owner)
	h.Loosen(o)
	return h, o
}

func TestWhoHoldsMostGivesWayToWhoHoldsLess(t *testing.T) {
	p := admission.New(admission.Config{Size: 10})
	var eves []*owner
	for range 10 {
		_, o := loose(t, p, from("eve", 1), 1)
		eves = append(eves, o)
	}
	require.Nil(t, p.Take(from("eve", 1), 1), "nobody displaces what is their own")
	require.Nil(t, p.Take(from("eve", 2), 1), "wherever it comes from")
	for i := range 5 {
		loose(t, p, from("bob", 2), 1)
		require.Equal(t, 1, eves[i].displaced, "the oldest first")
	}
	require.Nil(t, p.Take(from("bob", 2), 1), "both hold the same")
	require.EqualValues(t, 10, p.Held())
	loose(t, p, from("carol", 3), 1)
	require.EqualValues(t, 10, p.Held())
}

func TestAmongEqualUsersTheHeaviestNetworkGivesWay(t *testing.T) {
	p := admission.New(admission.Config{Size: 100})
	for i := range 100 {
		loose(t, p, from(fmt.Sprint("eve", i), 1), 1)
	}
	for i := range 50 {
		loose(t, p, from(fmt.Sprint("honest", i), 2+i), 1)
	}
	require.Nil(t, p.Take(from("one more", 1), 1), "the heaviest network gets no more")
	loose(t, p, from("somebody else", 99), 1)

	// A user with much does not displace users with little, however many share their network.
	q := admission.New(admission.Config{Size: 100})
	for i := range 90 {
		loose(t, q, from(fmt.Sprint("honest", i), 1), 1)
	}
	for range 10 {
		loose(t, q, from("eve", 2), 1)
	}
	require.Nil(t, q.Take(from("eve", 2), 1))
	require.Nil(t, q.Take(from("eve", 3), 1))
}

func TestOnlyLooseHoldingsGiveWay(t *testing.T) {
	p := admission.New(admission.Config{Size: 10})
	h := p.Take(from("eve", 1), 10)
	require.Nil(t, p.Take(from("bob", 2), 1))
	o := new(owner)
	h.Loosen(o)
	require.True(t, h.Fix())
	require.Nil(t, p.Take(from("bob", 2), 1))
	h.Loosen(o)
	require.NotNil(t, p.Take(from("bob", 2), 1))
	require.Equal(t, 1, o.displaced)
	require.False(t, h.Fix())
	require.False(t, h.Grow(1))
	h.Progress(1)
	h.Loosen(o)
	h.Release()
	require.EqualValues(t, 1, p.Held())
}

func TestAHoldingDoesNotMakeRoomForItself(t *testing.T) {
	p := admission.New(admission.Config{Size: 10})
	h, o := loose(t, p, from("eve", 1), 6)
	_, lost := loose(t, p, from("bob", 2), 4)
	require.False(t, h.Grow(1))
	require.Zero(t, o.displaced)
	require.Zero(t, lost.displaced)
	require.True(t, h.Fix())
	h.Release()
	require.EqualValues(t, 4, p.Held())
	small := p.Take(from("carol", 3), 1)
	small.Loosen(new(owner))
	require.True(t, small.Grow(5))
	require.EqualValues(t, 10, p.Held())
	require.False(t, small.Grow(1))
}

func TestTheReserveIsForSmallHolders(t *testing.T) {
	p := admission.New(admission.Config{Size: 100, Reserve: 20, Small: 5})
	require.Nil(t, p.Take(from("eve", 1), 81))
	h := p.Take(from("eve", 1), 80) // fixed
	require.NotNil(t, h)
	require.False(t, h.Grow(1))
	for i := range 4 {
		require.NotNil(t, p.Take(from(fmt.Sprint("honest", i), 2), 5))
	}
	require.Nil(t, p.Take(from("one more", 2), 5))
}

func TestTheSlowestGivesWayToWhoHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := admission.New(admission.Config{Size: 3, LeastRate: 100})
		fast, fastOwner := loose(t, p, from("a", 1), 1)
		slow, slowOwner := loose(t, p, from("b", 2), 1)
		_, stuckOwner := loose(t, p, from("c", 3), 1)
		fast.Progress(2000)
		slow.Progress(20)
		require.Nil(t, p.Take(from("d", 4), 1), "nothing is judged at once")
		<-time.After(graceTime)
		require.NotNil(t, p.Take(from("d", 4), 1))
		require.Equal(t, 1, stuckOwner.displaced)
		require.Nil(t, p.Take(from("d", 4), 1), "who holds something displaces nobody who holds no more")
		require.NotNil(t, p.Take(from("e", 5), 1))
		require.Equal(t, 1, slowOwner.displaced)
		require.Nil(t, p.Take(from("f", 6), 1))
		require.Zero(t, fastOwner.displaced)
		<-time.After(3 * time.Second)
		require.NotNil(t, p.Take(from("g", 7), 1), "what it did long ago does not count")
		require.Equal(t, 1, fastOwner.displaced)
	})
}

func TestWhoHoldsNothingMayWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := admission.New(admission.Config{Size: 1})
		h := p.Take(from("eve", 1), 1)
		require.Nil(t, p.Await(t.Context(), from("eve", 1), 1, time.Hour), "at once: she holds something")
		require.Nil(t, p.Await(t.Context(), from("bob", 2), 1, time.Second))
		got := make(chan *admission.Holding, 1)
		go func() { got <- p.Await(t.Context(), from("bob", 2), 1, time.Minute) }()
		<-time.After(time.Second)
		require.Nil(t, p.Await(t.Context(), from("bob", 3), 1, time.Hour), "at once: one waits already")
		h.Release()
		(<-got).Release()
		require.Zero(t, p.Held())
		h = p.Take(from("eve", 1), 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Nil(t, p.Await(ctx, from("bob", 2), 1, time.Hour), "its client has gone")
		h.Release()
		require.NotNil(t, p.Await(ctx, from("bob", 2), 1, time.Hour))
	})
}

func TestAmongTheirHoldingsTheSlowestGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := admission.New(admission.Config{Size: 3})
		_, first := loose(t, p, from("eve", 1), 1)
		h, second := loose(t, p, from("eve", 2), 1)
		third, thirdOwner := loose(t, p, from("eve", 3), 1)
		<-time.After(time.Second)
		h.Progress(1)
		third.Progress(2)
		loose(t, p, from("bob", 2), 1)
		require.Equal(t, []int{1, 0, 0}, []int{first.displaced, second.displaced, thirdOwner.displaced})
	})
}

// TestThePoolAddsUp does things at random and compares the Pool's sums with its own.
func TestThePoolAddsUp(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	p := admission.New(admission.Config{Size: 200, Reserve: 50, Small: 10})
	type held struct {
		*admission.Holding
		owner  *owner
		amount int64
	}
	var all []*held
	for range 20_000 {
		sum, left := int64(0), all[:0]
		for _, h := range all {
			if h.owner.displaced == 0 {
				left, sum = append(left, h), sum+h.amount
			}
		}
		all = left
		require.Equal(t, sum, p.Held())
		require.LessOrEqual(t, sum, int64(200))
		if len(all) == 0 || rng.IntN(3) == 0 {
			n := rng.Int64N(20)
			if h := p.Take(from(fmt.Sprint(rng.IntN(12)), rng.IntN(5)), n); h != nil {
				all = append(all, &held{h, new(owner), n})
			}
			continue
		}
		i := rng.IntN(len(all))
		switch h := all[i]; rng.IntN(4) {
		case 0:
			h.Release()
			h.owner.displaced = 1
		case 1:
			h.Loosen(h.owner)
		case 2:
			require.True(t, h.Fix())
		default:
			if n := rng.Int64N(10); h.Grow(n) {
				h.amount += n
			}
		}
	}
	for _, h := range all {
		h.Release()
	}
	require.Zero(t, p.Held())
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string][2]string{
		"192.0.2.77":        {"192.0.2.77", "192.0.2.0/24"},
		"::ffff:192.0.2.77": {"192.0.2.77", "192.0.2.0/24"},
		"2001:db8:1:2:3::4": {"2001:db8:1:2::/64", "2001:db8:1::/48"},
		"fe80::1%eth0":      {"fe80::/64", "fe80::/48"},
	} {
		at := netip.MustParseAddr(text)
		require.Equal(t, want, [2]string{admission.Address(at), admission.NetworkOf(at).String()})
	}
	require.Empty(t, admission.Address(netip.Addr{}))
	require.Equal(t, admission.Network{}, admission.NetworkOf(netip.Addr{}))
}
