package parking

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/admission"
)

func TestWhoWaitsTakesNoGoroutine(t *testing.T) {
	const crowd = 200
	i := newInn(t, quick())
	before := runtime.NumGoroutine()
	for range crowd {
		i.parked(i.dial())
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < before+crowd/10 }, patience, time.Millisecond)
}

func TestAnAnsweredConnectionServesTheNextRequest(t *testing.T) {
	i := newInn(t, quick())
	c := i.dial()
	for range 3 {
		i.parked(c).answer("first")
		c.expect("first")
		c.send("/next")
		c.expect("/next")
	}
	require.Zero(t, i.blocked.Load())
}

func TestRequestsSentAheadAreAnsweredInTheirOrder(t *testing.T) {
	// Together they are longer than one read of the server.
	long := "/" + strings.Repeat("a", 3000)
	i := newInn(t, quick())
	c := i.dial()
	c.send("/park", long, "/park", "/b", "/park", "/park", long, long)
	for range 2 {
		(<-i.arrived).answer("parked")
	}
	for _, want := range []string{"parked", long, "parked", "/b"} {
		c.expect(want)
	}
	for range 2 {
		(<-i.arrived).answer("parked")
		c.expect("parked")
	}
	c.expect(long)
	c.expect(long)
}

func TestARequestThatComesWhileItsClientWaitsIsAnsweredAfterwards(t *testing.T) {
	i := newInn(t, quick())
	c := i.dial()
	v := i.parked(c)
	c.send("/next")
	c.send("/one-more")
	v.answer("first")
	for _, want := range []string{"first", "/next", "/one-more"} {
		c.expect(want)
	}
}

func TestAClientThatGoesIsNoticed(t *testing.T) {
	for name, ahead := range map[string][]string{"silent": nil, "having sent ahead": {"/next"}} {
		t.Run("at once, "+name, func(t *testing.T) {
			i := newInn(t, quick())
			c := i.dial()
			c.send(append([]string{"/park"}, ahead...)...)
			v := <-i.arrived
			require.NoError(t, c.Close())
			eventually(t, v.gone)
			i.settled()
		})
		t.Run("later, "+name, func(t *testing.T) {
			i := newInn(t, quick())
			c := i.dial()
			v := i.parked(c)
			if ahead != nil {
				c.send(ahead...)
			}
			require.NoError(t, c.Conn.(*net.TCPConn).SetLinger(0)) // a TCP reset
			require.NoError(t, c.Close())
			eventually(t, v.gone)
		})
	}
}

func TestTheTimeToWaitIsKept(t *testing.T) {
	i := newInn(t, quick())
	c := i.dial()
	began := time.Now()
	c.send("/park?wait=250ms")
	c.expect("expired")
	require.GreaterOrEqual(t, time.Since(began), 250*time.Millisecond)
	c.send("/next")
	c.expect("/next")
}

func TestWhatAClientDoesNotTakeAtOnceItIsGivenLater(t *testing.T) {
	i := newInn(t, Config{IdleTimeout: time.Minute, WriteTimeout: time.Minute, Unread: admission.New(admission.Config{Size: 64 << 20})})
	c := i.dial()
	long := strings.Repeat("long", 4<<20)
	v := i.parked(c)
	v.answer(long)
	require.Positive(t, i.lot.cfg.Unread.Held())
	c.expect(long)
	require.NoError(t, eventually(t, v.written))
	c.send("/next")
	c.expect("/next")
}

func TestAClientThatDoesNotTakeItsAnswerIsLetGo(t *testing.T) {
	long := strings.Repeat("long", 4<<20)
	for want, cfg := range map[error]Config{
		ErrSlow:   {IdleTimeout: time.Minute, WriteTimeout: 100 * time.Millisecond, Unread: admission.New(admission.Config{Size: 64 << 20})},
		ErrUnread: {IdleTimeout: time.Minute, WriteTimeout: time.Minute, Unread: admission.New(admission.Config{Size: 1 << 20})},
	} {
		i := newInn(t, cfg)
		v := i.parked(i.dial())
		v.answer(long)
		require.ErrorIs(t, eventually(t, v.written), want)
		i.settled()
	}
}

// TestWhoLeavesMostUnreadMakesRoom: else three users could keep everybody's answers out.
func TestWhoLeavesMostUnreadMakesRoom(t *testing.T) {
	const answer, room, left = 16 << 20, 64 << 20, 1 << 20
	i := newInn(t, Config{IdleTimeout: time.Minute, WriteTimeout: time.Minute, Unread: admission.New(admission.Config{Size: room})})
	stuck := func(user string) *visitor {
		v := i.parked(i.dial())
		v.holder.User = user
		v.answer(strings.Repeat("x", answer)) // more than the kernel takes
		return v
	}
	first, second := stuck("eve"), stuck("eve")
	rest := i.lot.cfg.Unread.Take(admission.Holder{}, room-left-i.lot.cfg.Unread.Held())
	honest := stuck("bob")
	require.ErrorIs(t, eventually(t, first.written), ErrUnread)
	require.Empty(t, honest.written)
	require.Empty(t, second.written)
	rest.Release()
}

func TestAnIdleConnectionIsClosedInTime(t *testing.T) {
	i := newInn(t, Config{IdleTimeout: 100 * time.Millisecond, WriteTimeout: time.Minute, Unread: admission.New(admission.Config{Size: 1 << 20})})
	c := i.dial()
	i.parked(c).answer("first")
	c.expect("first")
	c.expectEnd()
}

func TestAConnectionThatIsToEndEnds(t *testing.T) {
	i := newInn(t, quick())
	i.last.Store(true)
	c := i.dial()
	v := i.parked(c)
	c.send("/ignored") // unread bytes must not cost the client its answer
	v.answer("last")
	c.expect("last")
	c.expectEnd()
	before := descriptors(t)
	require.NoError(t, c.Close())
	require.Eventually(t, func() bool { return descriptors(t) <= before-2 }, patience, time.Millisecond)
}

func TestDrainingWaitsForAnswersAndLetsIdleConnectionsGo(t *testing.T) {
	i := newInn(t, quick())
	idle, waits := i.dial(), i.dial()
	i.parked(idle).answer("first")
	idle.expect("first")
	v := i.parked(waits)
	drained := make(chan error, 1)
	go func() { drained <- i.lot.Drain(context.Background()) }()
	idle.expectEnd()
	late := i.dial()
	late.send("/park")
	late.expect("blocked")
	require.Empty(t, drained, "somebody waits yet")
	v.answer("second")
	waits.expect("second")
	require.NoError(t, eventually(t, drained))
	waits.expectEnd()
}

func TestDrainingEndsWithItsContext(t *testing.T) {
	i := newInn(t, quick())
	i.parked(i.dial())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, i.lot.Drain(ctx), context.Canceled)
}

func TestStoppingLetsEverybodyGo(t *testing.T) {
	i := newInn(t, Config{IdleTimeout: time.Minute, WriteTimeout: time.Minute, Unread: admission.New(admission.Config{Size: 64 << 20})})
	idle := i.dial()
	i.parked(idle).answer("first")
	idle.expect("first")
	slow := i.parked(i.dial())
	slow.answer(strings.Repeat("long", 4<<20))
	waits := i.parked(i.dial())
	i.lot.Stop()
	eventually(t, waits.gone)
	require.ErrorIs(t, eventually(t, slow.written), ErrStopped)
	idle.expectEnd()
	i.settled()
}

func TestWhoBeginsToWaitInAStoppedLotIsLetGo(t *testing.T) {
	i := newInn(t, quick())
	c := i.dial()
	v := i.parked(c)
	v.spot.mu.Lock()
	v.spot.state = fresh // as if just taken over
	v.spot.mu.Unlock()
	i.lot.Stop()
	v.spot.Wait(time.Minute)
	eventually(t, v.gone)
	c.expectEnd()
}

func TestAConnectionIsTakenAsItIs(t *testing.T) {
	i := newInn(t, quick())
	for name, text := range map[string]string{
		"with a body": "GET /park HTTP/1.1\r\nHost: inn\r\nContent-Length: 1\r\n\r\nx",
		"HTTP/1.0":    "GET /park HTTP/1.0\r\nHost: inn\r\n\r\n",
	} {
		c := i.dial()
		_, err := io.WriteString(c, text)
		require.NoError(t, err, name)
		c.expect("blocked")
	}
}

func TestAnEncryptedConnectionIsNotTaken(t *testing.T) {
	i := newInn(t, quick())
	server := httptest.NewUnstartedServer(i.server.Handler)
	server.Config.ConnContext = i.lot.ConnContext
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	for _, h2 := range []bool{true, false} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: h2}
		res, err := (&http.Client{Transport: transport}).Get(server.URL + "/park")
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, "blocked", string(body))
		transport.CloseIdleConnections()
	}
	require.EqualValues(t, 2, i.blocked.Load())
}

func TestAConnectionThatCannotBeTakenOverLeavesNothing(t *testing.T) {
	i := newInn(t, quick())
	here, there := net.Pipe()
	defer func() { _, _ = here.Close(), there.Close() }()
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	_, err := i.lot.Take(req, nil, newVisitor())
	require.ErrorIs(t, err, ErrUnable, "it is not known")
	req = req.WithContext(i.lot.ConnContext(t.Context(), here))
	_, err = i.lot.Take(req, nil, newVisitor())
	require.ErrorIs(t, err, ErrUnable, "it is not TCP")

	c := i.dial()
	req = req.WithContext(i.lot.ConnContext(t.Context(), c.Conn))
	before := descriptors(t)
	_, err = i.lot.Take(req, func() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, errors.New("no") }, newVisitor())
	require.ErrorIs(t, err, ErrLost)
	require.Equal(t, before, descriptors(t))
	i.settled()
}
