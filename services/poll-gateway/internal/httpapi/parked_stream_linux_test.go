package httpapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/parking"
)

// eachWay runs a test with streams that park, and with streams that wait in their handlers.
func eachWay(t *testing.T, test func(t *testing.T, h *testServer)) {
	for _, parks := range []bool{true, false} {
		t.Run(fmt.Sprint("parks ", parks), func(t *testing.T) {
			t.Parallel()
			test(t, newTestServer(t, parks))
		})
	}
}

func TestAStreamEndsAsItsPollDoes(t *testing.T) {
	for name, c := range map[string]struct {
		events []string
		lives  bool
	}{
		// After a drain, a blocked stream's connection lives until the HTTP server shuts down.
		"a revocation": {nil, true},
		"draining":     {[]string{beat}, false},
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, h *testServer) {
				l := h.caller("bob").listen("0", "X-Request-Id: my-request")
				require.Equal(t, "my-request", l.res.Header.Get("X-Request-Id"))
				require.Equal(t, "text/event-stream", l.res.Header.Get("Content-Type"))
				l.expect(opening)
				h.waiting(1)
				ends[name](h)
				for _, e := range c.events {
					l.expect(e)
				}
				h.waiting(0)
				l.expectEnd(c.lives || h.api.Lot == nil)
				require.EqualValues(t, 1, h.metric("sealpost_http_request_duration_seconds")-h.health(c.lives || h.api.Lot == nil))
			})
		})
	}
}

// health is how many requests expectEnd made to see whether a connection lives.
func (*testServer) health(lives bool) float64 {
	if lives {
		return 1
	}
	return 0
}

func TestAStreamThatWaitsIsToldThatTheLogIsAnother(t *testing.T) {
	eachWay(t, func(t *testing.T, h *testServer) {
		h.deliver("bob", "one")
		l := h.caller("bob").listen("1")
		l.expect(opening)
		h.waiting(1)
		ends["a reset"](h)
		l.expect("event: reset\nid: restored.0\ndata: {\"type\":\"reset\",\"cursor\":\"restored.0\"}")
		l.expect("one")
		h.deliver("bob", "two")
		l.expect("two")
	})
}

func TestThousandsOfEventsComeInOrderAndOnce(t *testing.T) {
	eachWay(t, func(t *testing.T, h *testServer) {
		const events, streams = 3000, 3
		var reading sync.WaitGroup
		for range streams {
			l := h.caller("bob").listen("0")
			l.expect(opening)
			reading.Go(func() {
				for n := 1; n <= events; n++ {
					got, err := l.next()
					require.NoError(t, err)
					require.Contains(t, got, "id: epoch."+strconv.Itoa(n)+"\n")
					require.Contains(t, got, "text "+strconv.Itoa(n)+`"`)
				}
			})
		}
		h.waiting(streams)
		for n := 1; n <= events; n++ {
			h.deliver("bob", "text "+strconv.Itoa(n))
			if n%500 == 0 { // so that they wait, and do not only catch up
				h.waiting(streams)
			}
		}
		reading.Wait()
		h.waiting(streams)
	})
}

// TestAStreamThatWaitsGoesOnFromTheStore when no event told of a message.
func TestAStreamThatWaitsGoesOnFromTheStore(t *testing.T) {
	eachWay(t, func(t *testing.T, h *testServer) {
		l := h.caller("bob").listen("0")
		l.expect(opening)
		h.waiting(1)
		for n := range 300 {
			h.library.add("bob", "lost "+strconv.Itoa(n)+".")
		}
		h.gateway.Disrupted() // the bus lost events
		h.gateway.Hinted([]string{"bob"})
		for n := range 300 {
			l.expect("lost " + strconv.Itoa(n) + ".")
		}
		h.waiting(1)
	})
}

func TestAStreamOfATokenThatExpiresEndsThen(t *testing.T) {
	h := newTestServer(t, true)
	until := time.Now().Add(time.Second)
	h.desk.until.Store(until.UnixNano())
	l := h.caller("bob").listen("0")
	l.expect(opening)
	h.waiting(1)
	l.expect(beat)
	require.False(t, time.Now().Before(until))
	l.expectEnd(true)
}

func TestAStreamWhoseTokenIsNotGoodAnyMoreEndsWithItsNextEvent(t *testing.T) {
	h := newTestServer(t, true)
	l := h.caller("bob").listen("0")
	l.expect(opening)
	h.waiting(1)
	h.desk.refused.Store(true) // its signing key was removed
	h.deliver("bob", "one")
	l.expect("one")
	l.expectEnd(true)
}

func TestAClientThatGoesFreesThePlaceOfItsStream(t *testing.T) {
	eachWay(t, func(t *testing.T, h *testServer) {
		l := h.caller("bob").listen("0")
		l.expect(opening)
		h.waiting(1)
		require.NoError(t, l.conn.Close())
		h.waiting(0)
		require.Eventually(t, func() bool { return h.metric("sealpost_http_requests_total") == 1 }, patience, time.Millisecond)
	})
}

// TestAClientThatDoesNotReadHoldsNobodyUp: at most one answer is buffered for it, and it is disconnected in time.
func TestAClientThatDoesNotReadHoldsNobodyUp(t *testing.T) {
	h := newTestServerWith(t, true, parking.Config{IdleTimeout: time.Minute, WriteTimeout: 300 * time.Millisecond, Unread: admission.New(admission.Config{Size: 64 << 20})})
	stuck := h.caller("bob")
	require.NoError(t, stuck.conn.(*net.TCPConn).SetReadBuffer(4<<10))
	stuck.get("/api/messages/stream?after=0")
	l := h.caller("bob").listen("0")
	l.expect(opening)
	h.waiting(2)
	long := strings.Repeat("long", 200<<10)
	for n := range 40 {
		h.deliver("bob", long)
		l.expect("id: epoch." + strconv.Itoa(n+1) + "\n")
	}
	h.waiting(1)
	require.Positive(t, h.metric("sealpost_parking_slow_answers_total"))
	h.deliver("bob", "short")
	l.expect("short")
	require.Eventually(t, func() bool { return h.api.Unread.left.Held() == 0 }, patience, time.Millisecond, "all is given back")
}

// TestStreamsOfOneUserLeaveNoMoreUnreadThanAUserMay: above the limit a stream ends, and a new one continues from its cursor.
func TestStreamsOfOneUserLeaveNoMoreUnreadThanAUserMay(t *testing.T) {
	h := newTestServer(t, true)
	h.api.Unread = NewUnread(admission.New(httpserver.AnswerBound(1 << 10)))
	l := h.caller("bob").listen("0")
	l.expect(opening)
	h.waiting(1)
	require.NotNil(t, h.api.Unread.left.Take(admission.Holder{User: "eve"}, 1<<9))
	h.deliver("bob", strings.Repeat("long", 200))
	l.expectEnd(true)
}

func TestStreamsThatWaitHaveNoGoroutines(t *testing.T) {
	const streams = 2000
	h := newTestServer(t, true)
	before := runtime.NumGoroutine()
	for n := range streams {
		h.caller("user" + strconv.Itoa(n)).listen("0").expect(opening)
	}
	h.waiting(streams)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < before+streams/50 }, patience, time.Millisecond)
	all := make([]*listener, 0, 20)
	for range cap(all) { // all of one user
		l := h.caller("bob").listen("0")
		l.expect(opening)
		all = append(all, l)
	}
	h.waiting(streams + 20)
	h.deliver("bob", "hello")
	for _, l := range all {
		l.expect("hello")
	}
	require.Eventually(t, func() bool { return runtime.NumGoroutine() < before+streams/50 }, patience, time.Millisecond, "after an event, too")
}

func TestRequestsSentBehindAStreamAreAnsweredWhenItHasEnded(t *testing.T) {
	h := newTestServer(t, true)
	c := h.caller("bob")
	l := c.listen("0")
	l.expect(opening)
	h.waiting(1)
	c.get("/api/health")
	h.deliver("bob", "one")
	l.expect("one")
	h.revoke("bob")
	_, err := l.next()
	require.ErrorIs(t, err, io.EOF)
	require.Contains(t, c.answer().body, `"status":"healthy"`)
}

func TestAStreamThatAsksToBeTheLastRequestEndsItsConnection(t *testing.T) {
	h := newTestServer(t, true)
	l := h.caller("bob").listen("0", "Connection: close")
	require.True(t, l.res.Close)
	l.expect(opening)
	h.waiting(1)
	h.revoke("bob")
	l.expectEnd(false)
}

// TestStreamsThatCannotParkWaitInTheirHandlers: connections with TLS and HTTP/2 cannot be taken over.
func TestStreamsThatCannotParkWaitInTheirHandlers(t *testing.T) {
	for _, h2 := range []bool{true, false} {
		h := newTestServer(t, true)
		server := httptest.NewUnstartedServer(h.server.Handler())
		server.Config.ConnContext = h.lot.ConnContext
		server.EnableHTTP2 = h2
		server.StartTLS()
		t.Cleanup(server.Close)
		ctx, cancel := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/messages/stream?after=0", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", "Bearer bob")
		res, err := server.Client().Do(req)
		require.NoError(t, err)
		require.Equal(t, h2, res.ProtoMajor == 2)
		l := &listener{&caller{t: t}, res, bufio.NewReader(res.Body)}
		l.expect(opening)
		require.Eventually(t, func() bool { return h.gateway.Open() == 1 }, patience, time.Millisecond)
		h.deliver("bob", "one")
		l.expect("one")
		require.Zero(t, h.metric("sealpost_parking_connections"))
		cancel()
		_ = res.Body.Close()
		require.Eventually(t, func() bool { return h.gateway.Open() == 0 }, patience, time.Millisecond)
	}
}

// TestEverythingHappensToStreamsAtTheSameInstant: clients go or send more, messages come, tokens are revoked and expire, the epoch
// changes, and the node drains. A client that stays gets a whole answer, with messages once and in order.
func TestEverythingHappensToStreamsAtTheSameInstant(t *testing.T) {
	for range 4 {
		t.Run("", everythingToStreams)
	}
}

func everythingToStreams(t *testing.T) {
	const crowd = 150
	h := newTestServer(t, true)
	instant := time.Now().Add(2 * time.Second)
	h.desk.until.Store(instant.UnixNano())
	all := make([]*listener, crowd)
	for n := range all {
		all[n] = h.caller("user" + strconv.Itoa(n/2)).listen("0")
		all[n].expect(opening)
	}
	var contest sync.WaitGroup
	during := func(f func(c *caller, n int)) {
		start := time.NewTimer(time.Until(instant) + rand.N(150*time.Millisecond))
		order := rand.Perm(crowd)
		contest.Go(func() {
			<-start.C
			for _, n := range order {
				f(all[n].caller, n)
			}
		})
	}
	leaves := func(n int) bool { return n%5 == 0 }
	during(func(c *caller, n int) {
		if leaves(n) {
			_ = c.conn.Close()
		}
	})
	for range 3 {
		during(func(c *caller, _ int) { h.deliver(c.name, "hello") })
	}
	during(func(_ *caller, n int) {
		if n == 7 {
			h.desk.refused.Store(true) // now all tokens
		}
	})
	during(func(c *caller, n int) {
		if n%3 == 0 {
			h.revoke(c.name)
		}
	})
	drain := time.NewTimer(time.Until(instant) + rand.N(250*time.Millisecond))
	contest.Go(func() {
		<-drain.C
		require.NoError(t, h.gateway.Drain(t.Context(), 0))
		require.NoError(t, h.lot.Drain(t.Context()))
	})
	for n, l := range all {
		if !leaves(n) {
			contest.Go(func() { l.readAll(t) })
		}
	}
	contest.Wait()
	h.stop()
	require.EqualValues(t, crowd, h.metric("sealpost_http_requests_total"), "each stream is counted once")
}

var (
	_ gateway.Observer = (*parkedStream)(nil)
	_ parking.Handler  = (*parkedStream)(nil)
	_ connection       = (*parking.Spot)(nil)
)
