package parking

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/sealpost/sealpost/pkg/admission"
)

// witness is a handler that records its calls.
type witness struct{ told []string }

func (w *witness) Expired()      { w.told = append(w.told, "expired") }
func (w *witness) Gone()         { w.told = append(w.told, "gone") }
func (w *witness) Written(error) { w.told = append(w.told, "written") }

func (w *witness) Holder() admission.Holder { return admission.Holder{} }

// placed is a Spot for one end of a socket pair. Its Lot's goroutine has ended: the test reports the events.
type placed struct {
	*Spot
	*witness
	peer int
}

// flood is more than a socket takes while nobody reads.
var flood = make([]byte, 700<<10)

func place(t *testing.T, in state) *placed {
	l, err := New(quick(), NewMetrics(nil))
	require.NoError(t, err)
	l.poller.close()
	<-l.ended
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	w := &witness{}
	p := &placed{&Spot{lot: l, fd: fds[0], handler: w}, w, fds[1]}
	require.True(t, l.enter())
	l.put(p.Spot)
	t.Cleanup(func() {
		require.NoError(t, unix.Close(p.peer))
		l.Stop()
		p.Release(false) // a handler that was called does so
		if p.state == lingering || p.state == idle {
			p.abandon()
		}
		require.Equal(t, ended, p.state)
		require.Zero(t, l.cfg.Unread.Held())
		require.Zero(t, l.wheel.count)
		require.Zero(t, l.handlers)
	})
	switch in {
	case waiting:
		p.Wait(time.Minute)
	case writing:
		p.Write(flood)
	case written:
		p.Write([]byte("x"))
	case idle, lingering:
		p.Write([]byte("x"))
		p.Release(in == idle)
	case ended:
		p.Release(false)
	}
	require.Equal(t, in, p.state)
	w.told = nil
	return p
}

// take makes a step happen, and returns the state to which an entry of the table should lead.
func (p *placed) take(t *testing.T, e step, entry state) state {
	switch e {
	case toWait:
		p.Wait(time.Minute)
	case toWrite:
		p.Write([]byte("x"))
		if entry == writing {
			return written // the kernel takes it at once
		}
	case wrote:
		for buf := make([]byte, len(flood)); ; { // the client reads, and the poller reports the socket
			if n, err := unix.Read(p.peer, buf); n <= 0 || err != nil {
				break
			}
			p.event(unix.EPOLLOUT)
		}
	case keeps:
		p.Release(true)
	case closes:
		p.Release(false)
	case clientGone:
		require.NoError(t, unix.Shutdown(p.peer, unix.SHUT_WR))
		p.event(unix.EPOLLIN | unix.EPOLLRDHUP)
	case timeUp:
		p.lot.wheel.clear(p.Spot)
		p.expire()
	}
	if entry == ignored || entry == told {
		return p.state
	}
	return entry
}

// TestTheTableOfASpotIsWhatItDoes tries every step in every state.
func TestTheTableOfASpotIsWhatItDoes(t *testing.T) {
	notices := map[step]string{clientGone: "gone", timeUp: "expired"}
	for in := range states {
		for e := range steps {
			t.Run(fmt.Sprint("state ", in, ", step ", e), func(t *testing.T) {
				p, entry := place(t, in), transitions[in][e]
				want := in
				if next := p.take(t, e, entry); entry != ignored && entry != told {
					want = next
				}
				require.Equal(t, want, p.state)
				switch {
				case entry == told:
					require.Equal(t, []string{notices[e]}, p.told)
				case want == written && in != written, e == toWrite && entry == writing:
					require.Equal(t, []string{"written"}, p.told, "once for each write")
				default:
					require.Empty(t, p.told)
				}
			})
		}
	}
}

func TestAHandlerWritesAndWaitsAgainAndAgain(t *testing.T) {
	p := place(t, fresh)
	buf := make([]byte, 10)
	for range 3 {
		p.Wait(time.Minute)
		require.Equal(t, 1, p.lot.wheel.count)
		p.Write([]byte("part"))
		require.Zero(t, p.lot.wheel.count)
		n, err := unix.Read(p.peer, buf)
		require.NoError(t, err)
		require.Equal(t, "part", string(buf[:n]))
	}
	require.Equal(t, []string{"written", "written", "written"}, p.told)
	p.Write(flood)
	require.NotNil(t, p.more)
	p.take(t, wrote, written)
	require.Nil(t, p.more, "nothing is kept of what was slow")
}

func TestWhileAWriteIsUnderWayNothingElseBegins(t *testing.T) {
	p := place(t, writing)
	rest := len(p.more.rest)
	for _, begin := range []func(){func() { p.Wait(time.Minute) }, func() { p.Write([]byte("x")) }, func() { p.Release(true) }} {
		begin()
		require.Equal(t, writing, p.state)
		require.Len(t, p.more.rest, rest)
	}
	p.take(t, wrote, written)
	require.Equal(t, []string{"written"}, p.told)
	require.Zero(t, p.lot.wheel.count, "and there is no deadline left of it")
}

// TestAClientThatGoesBetweenAWriteAndAWaitIsNoticed when the handler calls Wait.
func TestAClientThatGoesBetweenAWriteAndAWaitIsNoticed(t *testing.T) {
	i := newInn(t, quick())
	c := i.dial()
	v := i.parked(c)
	held := &again{visitor: v, written: make(chan struct{}), gone: make(chan struct{})}
	v.spot.mu.Lock()
	v.spot.handler = held
	v.spot.mu.Unlock()
	v.spot.Write([]byte("part"))
	eventually(t, held.written)
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { // reported, but without effect in this state
		v.spot.mu.Lock()
		defer v.spot.mu.Unlock()
		return v.spot.armed == 0
	}, patience, time.Millisecond)
	v.spot.Wait(time.Minute)
	eventually(t, held.gone)
}

// again is a visitor that stays after a write.
type again struct {
	*visitor
	written, gone chan struct{}
}

func (a *again) Written(error) { close(a.written) }
func (a *again) Gone() {
	close(a.gone)
	a.spot.Release(false)
}
