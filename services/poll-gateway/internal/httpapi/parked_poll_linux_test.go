package httpapi

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// ends are the ways in which a poll that waits ends.
var ends = map[string]func(h *testServer){
	"a message":    func(h *testServer) { h.deliver("bob", "hello") },
	"a revocation": func(h *testServer) { h.revoke("bob") },
	"draining":     func(h *testServer) { require.NoError(h.t, h.gateway.Drain(context.Background(), 0)) },
	"a reset": func(h *testServer) {
		h.library.restore()
		require.Eventually(h.t, func() bool { // the store is asked at most once a second
			epoch, err := h.gateway.Epochs().Recheck(context.Background())
			return err == nil && epoch == *h.library.epoch.Load()
		}, patience, 10*time.Millisecond)
	},
}

// seen is every part of an answer that must not depend on how the poll waited.
type seen struct {
	reply
	counted float64
	timed   float64
	cursor  int64
}

func watch(t *testing.T, parks, cursor bool, end func(h *testServer)) seen {
	h := newTestServer(t, parks)
	c := h.caller("bob")
	c.poll(cursor, "Origin: https://chat.example", "X-Request-Id: my-request")
	h.waiting(1)
	end(h)
	got := c.answer()
	got.header.Del("Date")
	require.Eventually(t, func() bool { return h.gateway.Open() == 0 && h.metric("sealpost_http_requests_total") == 1 }, patience, time.Millisecond)
	h.stop()
	return seen{
		reply: got, counted: h.metric("sealpost_http_requests_total"), timed: h.metric("sealpost_http_request_duration_seconds"),
		cursor: h.library.cursors["bob"].Position,
	}
}

func TestAnAnswerIsTheSameHoweverItsPollHasWaited(t *testing.T) {
	for name, end := range ends {
		for _, cursor := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", cursor ", cursor), func(t *testing.T) {
				t.Parallel()
				parked, blocked := watch(t, true, cursor, end), watch(t, false, cursor, end)
				require.Equal(t, blocked, parked)
				require.Equal(t, "my-request", parked.header.Get("X-Request-Id"))
				require.Equal(t, "https://chat.example", parked.header.Get("Access-Control-Allow-Origin"))
				require.Equal(t, "limit=1000, remaining=999, reset=1", parked.header.Get("RateLimit"))
				require.Equal(t, name == "draining", parked.close)
			})
		}
	}
}

func TestAConnectionIsUsedForPollAfterPoll(t *testing.T) {
	h := newTestServer(t, true)
	c := h.caller("bob")
	for n := range 5 {
		c.get("/api/messages/poll?after=" + strconv.Itoa(n))
		h.waiting(1)
		h.deliver("bob", "hello")
		got := c.answer()
		require.Equal(t, http.StatusOK, got.status)
		require.Contains(t, got.body, "hello")
		c.get("/api/health")
		require.Contains(t, c.answer().body, `"status":"healthy"`)
	}
	require.EqualValues(t, 5, h.metric("sealpost_parking_returned_total"))
}

// TestAPollWhoseTokenExpiresIsAnsweredThen, and not before: else its client would poll in a tight loop.
func TestAPollWhoseTokenExpiresIsAnsweredThen(t *testing.T) {
	h := newTestServer(t, true)
	until := time.Now().Add(300 * time.Millisecond)
	h.desk.until.Store(until.UnixNano())
	c := h.caller("bob")
	c.poll(false)
	require.JSONEq(t, `{"type":"timeout"}`, c.answer().body)
	require.False(t, time.Now().Before(until), "while a token is accepted, its polls wait")
}

func TestAClientThatGoesIsCountedAndFreesItsPlace(t *testing.T) {
	for _, parks := range []bool{true, false} {
		h := newTestServer(t, parks)
		c := h.caller("bob")
		c.poll(true)
		h.waiting(1)
		require.NoError(t, c.conn.Close())
		h.waiting(0)
		require.Eventually(t, func() bool { return h.metric("sealpost_http_requests_total") == 1 }, patience, time.Millisecond)
	}
}

func TestASessionThatWaitsWhileTheEpochChangesStartsOver(t *testing.T) {
	h := newTestServer(t, true)
	h.deliver("bob", "one")
	require.NoError(t, h.library.AdvanceSession(t.Context(), "bob", "bob", "epoch", 1))
	c := h.caller("bob")
	c.poll(false)
	h.waiting(1)
	ends["a reset"](h)
	require.JSONEq(t, `{"type":"timeout"}`, c.answer().body)
	c.poll(false)
	require.Contains(t, c.answer().body, "one")
}

func TestConnectionsThatComeBackWhileDrainingAreTold(t *testing.T) {
	h := newTestServer(t, true)
	c := h.caller("bob")
	c.poll(true)
	h.waiting(1)
	c.get("/api/messages/poll?after=latest") // sent ahead of the answer
	require.NoError(t, h.server.Drain(t.Context()))
	require.NoError(t, h.gateway.Drain(t.Context(), 0))
	require.NoError(t, h.lot.Drain(t.Context()))
	got := c.answer()
	require.True(t, got.close)
	require.Equal(t, http.StatusOK, got.status)

	c = h.caller("bob")
	c.poll(true)
	got = c.answer()
	require.True(t, got.close)
	require.Contains(t, got.body, api.CodeDraining)
}

// TestEverythingAtTheSameInstant: clients of many polls leave, their time runs out, messages come, tokens are revoked and the node
// drains, all at once. SEALPOST_RACES is the number of polls.
func TestEverythingAtTheSameInstant(t *testing.T) {
	polls, crowd := 2000, 250
	if text := os.Getenv("SEALPOST_RACES"); text != "" {
		var err error
		polls, err = strconv.Atoi(text)
		require.NoError(t, err)
		crowd = 1000
	}
	lead := 2 * time.Second
	for left := polls; left > 0; left -= crowd {
		t.Run("", func(t *testing.T) { lead = everythingAtOnce(t, min(crowd, left), lead) })
	}
}

// everythingAtOnce runs that with one crowd, and returns how long the crowd took to connect, with a margin.
func everythingAtOnce(t *testing.T, crowd int, lead time.Duration) time.Duration {
	h := newTestServer(t, true)
	began := time.Now()
	instant := began.Add(lead)
	h.desk.until.Store(instant.UnixNano())
	callers := make([]*caller, crowd)
	for n := range callers {
		callers[n] = h.caller("user" + strconv.Itoa(n))
		callers[n].poll(n%2 == 0)
	}
	require.Eventually(t, func() bool {
		return h.metric("sealpost_parking_connections") >= float64(crowd) || time.Now().After(instant)
	}, patience, time.Millisecond)
	took := time.Since(began)
	var contest sync.WaitGroup
	// during runs f for all callers, in random order, at about the time when their polls run out.
	during := func(f func(c *caller, n int)) {
		start := time.NewTimer(time.Until(instant) + rand.N(150*time.Millisecond))
		order := rand.Perm(crowd)
		contest.Go(func() {
			<-start.C
			for _, n := range order {
				f(callers[n], n)
			}
		})
	}
	leaves := func(n int) bool { return n%5 == 0 }
	during(func(c *caller, n int) {
		if leaves(n) {
			_ = c.conn.Close()
		}
	})
	during(func(c *caller, _ int) { h.deliver(c.name, "hello") })
	during(func(c *caller, n int) {
		if n%3 == 0 {
			h.revoke(c.name)
		}
	})
	drain := time.NewTimer(time.Until(instant) + rand.N(200*time.Millisecond))
	contest.Go(func() {
		<-drain.C
		require.NoError(t, h.gateway.Drain(t.Context(), 0))
		require.NoError(t, h.lot.Drain(t.Context()))
	})
	told := make([]bool, crowd)
	for n, c := range callers {
		if !leaves(n) {
			got := c.answer()
			require.Contains(t, []int{http.StatusOK, http.StatusUnauthorized, http.StatusServiceUnavailable}, got.status, got.body)
			told[n] = strings.Contains(got.body, "hello")
		}
	}
	contest.Wait()
	h.stop()
	require.EqualValues(t, crowd, h.metric("sealpost_http_requests_total"), "each poll is counted once")
	for n, c := range callers {
		_ = c.conn.Close()
		if at := h.library.cursors[c.name].Position; n%2 == 1 && !leaves(n) {
			require.Equal(t, told[n], at == 1, "a session's cursor moves with its answer")
		}
	}
	return min(3*time.Second, took*3/2+50*time.Millisecond)
}

func TestWorkersDoEveryJobAndCanBeWaitedFor(t *testing.T) {
	var w workers
	var mu sync.Mutex
	done := 0
	job := func() {
		mu.Lock()
		defer mu.Unlock()
		done++
	}
	for range 1000 {
		w.do(job)
	}
	release := make(chan struct{})
	w.start(func() {
		<-release
		job()
	})
	w.settle()
	require.Equal(t, 1000, done)
	close(release)
	w.wait()
	require.Equal(t, 1001, done)
}

var _ gateway.Observer = (*parkedPoll)(nil)

// TestAPollThatIsAnsweredSoonKeepsItsHandler: at most MaxUnparked polls at once. Others are taken over.
func TestAPollThatIsAnsweredSoonKeepsItsHandler(t *testing.T) {
	h := newTestServer(t, true)
	h.api.ParkAfter, h.api.MaxUnparked = patience, 1
	first, second := h.caller("bob"), h.caller("eve")
	first.poll(true)
	require.Eventually(t, func() bool { return h.api.unparked.Load() == 1 }, patience, time.Millisecond)
	second.poll(true)
	require.Eventually(t, func() bool { return h.metric("sealpost_parking_connections") == 1 }, patience, time.Millisecond)
	h.deliver("bob", "hello")
	require.Contains(t, first.answer().body, "hello")
	require.EqualValues(t, 1, h.metric("sealpost_parking_connections"), "the first was not taken over")
	h.deliver("eve", "you")
	require.Contains(t, second.answer().body, "you")

	h.api.ParkAfter = time.Millisecond
	first.get("/api/messages/poll?after=1")
	h.waiting(1)
	h.deliver("bob", "later")
	require.Contains(t, first.answer().body, "later")
}

// TestAPollIsAnsweredOnceThoughItsOutcomeComesAsItIsTakenOver: whether the HTTP handler gets the outcome or the parked poll.
func TestAPollIsAnsweredOnceThoughItsOutcomeComesAsItIsTakenOver(t *testing.T) {
	h := newTestServer(t, true)
	h.api.ParkAfter, h.api.MaxUnparked = time.Millisecond, 100
	c := h.caller("bob")
	for n := range 300 {
		c.get("/api/messages/poll?after=" + strconv.Itoa(n))
		require.Eventually(t, func() bool { return h.gateway.Open() == 1 }, patience, 100*time.Microsecond)
		<-time.After(rand.N(2 * time.Millisecond)) // around its takeover
		h.deliver("bob", "hello")
		require.Contains(t, c.answer().body, `"hello"`)
	}
	taken := h.metric("sealpost_parking_returned_total")
	t.Logf("%v of 300 were taken over", taken)
}
