package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http/httputil"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// seat is a connection that records its calls.
type seat struct {
	handler *parkedStream

	mu    sync.Mutex
	timer *time.Timer
	// at is when something was written.
	at       []time.Time
	text     bytes.Buffer
	released []bool
	// slow: the client reads nothing until told to.
	slow bool
}

func (p *seat) Wait(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop()
	p.timer = time.AfterFunc(d, p.handler.Expired)
}

func (p *seat) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

func (p *seat) Write(b []byte) {
	p.mu.Lock()
	p.stop()
	p.at = append(p.at, time.Now())
	p.text.Write(b)
	slow := p.slow
	p.mu.Unlock()
	if !slow {
		p.handler.Written(nil)
	}
}

func (p *seat) Release(keep bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stop()
	p.released = append(p.released, keep)
}

func (p *seat) Displaced() {}

func (p *seat) times() []time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.at)
}

func (p *seat) ends() []bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.released)
}

func (p *seat) slows(slow bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow = slow
}

// forget clears the records.
func (p *seat) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.slow, p.at, p.released = false, nil, nil
	p.text.Reset()
}

// raw is what the client has been sent.
func (p *seat) raw() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text.String()
}

// body is raw without the chunked framing.
func (p *seat) body(t *testing.T) string {
	t.Helper()
	text, err := io.ReadAll(httputil.NewChunkedReader(io.MultiReader(strings.NewReader(p.raw()), strings.NewReader("0\r\n\r\n"))))
	require.NoError(t, err)
	return string(text)
}

// pass waits until d has passed and everything that is due then has happened.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// holds makes a parked stream of a user that waits at the beginning of the log.
func (r *rig) holds(expires time.Time, epoch string) (*parkedStream, *seat) {
	q := gateway.Query{Limit: defaultLimit, Wait: untilExpiry(nextHeartbeat(), expires), Resumes: true}
	q.Caller.Subject = "bob"
	_, parked, err := r.gateway.Start(context.Background(), q)
	require.NoError(r.t, err)
	h := &parkedStream{api: r.api, parked: parked, expires: expires, epoch: epoch}
	p := &seat{handler: h}
	h.spot = p
	h.begin()
	return h, p
}

func (r *rig) publish(text string) {
	r.shelf.mu.Lock()
	r.shelf.messages = append(r.shelf.messages, text)
	n := len(r.shelf.messages)
	r.shelf.mu.Unlock()
	b, err := r.shelf.Read(context.Background(), "bob", int64(n-1), 1)
	require.NoError(r.t, err)
	e := delivery.Stored(b.Items[0], nil)
	r.gateway.Receive("bob", e.Encode(), nil)
}

func TestAHeldStreamIsWrittenToEveryFifteenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		h, p := r.holds(time.Now().Add(24*time.Hour), "epoch")
		before := time.Now()
		pass(time.Hour)
		require.Equal(t, strings.Repeat(heartbeatText, len(p.times())), p.body(t))
		require.GreaterOrEqual(t, len(p.times()), 240)
		for _, at := range p.times() {
			require.LessOrEqual(t, at.Sub(before), heartbeat)
			require.GreaterOrEqual(t, at.Sub(before), heartbeat-heartbeatEarly)
			before = at
		}
		// An event counts as a heartbeat: the next one comes that much later.
		pass(10 * time.Second)
		beats := len(p.times())
		r.publish("hello")
		synctest.Wait()
		require.Contains(t, p.body(t), "hello")
		require.Len(t, p.times(), beats+1)
		before = p.times()[beats]
		pass(heartbeat)
		require.GreaterOrEqual(t, p.times()[beats+1].Sub(before), heartbeat-heartbeatEarly)
		h.Gone()
		synctest.Wait()
		require.Equal(t, []bool{false}, p.ends())
		require.Zero(t, r.gateway.Open())
	})
}

// TestHeldStreamsThatBeganTogetherAreNotWrittenToTogetherForEver: streams that were written to together drift apart.
func TestHeldStreamsThatBeganTogetherAreNotWrittenToTogetherForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams = 60
		r := newRig(t)
		places := make([]*seat, streams)
		for i := range places {
			_, places[i] = r.holds(time.Now().Add(24*time.Hour), "epoch")
		}
		pass(10 * time.Minute)
		seconds := map[int64]int{}
		for _, p := range places {
			seconds[p.times()[len(p.times())-1].Unix()]++
		}
		for _, n := range seconds {
			require.Less(t, n, streams/2)
		}
		r.gateway.Stop()
		synctest.Wait()
	})
}

func TestAHeldStreamEndsWithItsToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := &closing{answers: []error{nil, nil, errGone}}
		r := newRigWith(t, tokens)
		expires := time.Now().Add(40 * time.Second)
		_, p := r.holds(expires, "epoch")
		pass(41 * time.Second)
		require.Equal(t, expires, p.times()[len(p.times())-1], "the last heartbeat, and the end")
		require.Empty(t, tokens.answers)
		require.True(t, strings.HasSuffix(p.raw(), string(lastChunk)))
		require.Equal(t, []bool{true}, p.ends())
		require.Zero(t, r.gateway.Open())
	})
}

// TestAHeldStreamWhoseEpochIsAnotherIsResetFirst: the epoch changed while the stream was not waiting, so nothing told it.
func TestAHeldStreamWhoseEpochIsAnotherIsResetFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, p := r.holds(time.Now().Add(time.Hour), "another")
		pass(heartbeat)
		require.Equal(t, heartbeatText+"event: reset\nid: epoch.0\ndata: {\"type\":\"reset\",\"cursor\":\"epoch.0\"}\n\n", p.body(t))
		pass(heartbeat)
		require.True(t, strings.HasSuffix(p.body(t), heartbeatText))
		r.gateway.Stop()
		synctest.Wait()
	})
}

// TestAHeldStreamIsGivenNoMoreWhileItsClientDoesNotRead: one answer is buffered for it, and the rest stays in the log.
func TestAHeldStreamIsGivenNoMoreWhileItsClientDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, p := r.holds(time.Now().Add(time.Hour), "epoch")
		p.slows(true)
		for n := range 20 { // more than the ring holds
			r.publish(fmt.Sprintf("text %d.", n))
		}
		pass(5 * time.Minute)
		require.Len(t, p.times(), 1)
		require.Equal(t, 1, strings.Count(p.body(t), "data: "))
		p.slows(false)
		p.handler.Written(nil)
		synctest.Wait()
		require.Equal(t, 20, strings.Count(p.body(t), "data: "))
		for n := range 20 {
			require.Contains(t, p.body(t), fmt.Sprintf("id: epoch.%d\n", n+1))
		}
		r.gateway.Stop()
		synctest.Wait()
		require.Equal(t, []bool{false}, p.ends(), "a node that stops asks to connect elsewhere")
	})
}

// TestTheTableOfAStreamIsWhatItDoes tries every event in every state.
func TestTheTableOfAStreamIsWhatItDoes(t *testing.T) {
	effects := map[streamAction]struct {
		next     streamState
		written  string
		released []bool
	}{
		withdraw: {next: streamEnded, released: []bool{false}},
		expire:   {next: streamWaits, written: heartbeatText}, // written at once, then it waits again
		send:     {next: streamWaits, written: "id: epoch.1\n"},
		goOn:     {next: streamWaits},
		breakOff: {next: streamEnded, released: []bool{false}},
		// The stream reads the epoch after a write, then it waits.
		takeEpoch: {next: streamWaits},
	}
	for in := range streamStates {
		for e := range streamEvents {
			t.Run(fmt.Sprint("state ", in, ", event ", e), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					h, p := r.holds(time.Now().Add(time.Hour), "epoch")
					h.into(in, p)
					want, ok := effects[streamTable[in][e]]
					if !ok {
						want.next = in
					}
					h.happens(r, e, streamTable[in][e] != ignore)
					synctest.Wait()
					require.Equal(t, want.next, h.state)
					require.Contains(t, p.body(t), want.written)
					require.Equal(t, want.written == "", len(p.times()) == 0)
					require.Equal(t, want.released, p.ends())
					h.leave(p)
					require.Len(t, p.ends(), 1)
					require.Zero(t, r.gateway.Open())
				})
			})
		}
	}
}

// into brings a waiting stream into another state.
func (h *parkedStream) into(s streamState, p *seat) {
	switch s {
	case streamWrites, streamAsks:
		p.slows(true)
		h.parked.Expire()
		synctest.Wait()
		if h.state = s; s == streamAsks {
			h.turn.current, h.turn.then = "epoch", (*parkedStream).resume
		}
	case streamEnded:
		h.Gone()
		synctest.Wait()
	}
	p.forget()
}

// happens makes an event happen, through its cause if it has an effect.
func (h *parkedStream) happens(r *rig, e streamEvent, means bool) {
	switch {
	case e == completed && means:
		r.publish("hello")
	case e == timeUp && means:
		pass(heartbeat)
	default:
		h.post(e)
	}
}

// leave ends a stream.
func (h *parkedStream) leave(p *seat) {
	switch h.state {
	case streamWaits:
		h.Gone()
	case streamWrites:
		h.Written(errGone)
	case streamAsks:
		h.state = streamWrites
		h.Written(errGone)
	case streamEnded:
		if len(p.ends()) == 0 {
			p.Release(false) // forget cleared the record
		}
	}
	synctest.Wait()
}

func TestAChunkIsWhatReadersOfHTTPTakeForOne(t *testing.T) {
	for _, size := range []int{1, 15, 16, 255, 4096, 70_000} {
		text := strings.Repeat("x", size)
		framed := chunk(0, func(b []byte) []byte { return append(b, text...) })
		require.True(t, strings.HasPrefix(string(framed), fmt.Sprintf("%x\r\n", size)))
		got, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(append(framed, lastChunk...))))
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
}
