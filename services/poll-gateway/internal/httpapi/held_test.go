package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/services/poll-gateway/internal/gateway"
)

// seat is a connection of which a test sees what is done with it.
type seat struct {
	guest *held
	timer *time.Timer
	// at is when something was written.
	at       []time.Time
	text     bytes.Buffer
	waits    int
	released []bool
	// slow: the client takes nothing until it is told to.
	slow bool
}

func (p *seat) Wait(d time.Duration) {
	p.stop()
	p.waits++
	p.timer = time.AfterFunc(d, p.guest.Expired)
}

func (p *seat) stop() {
	if p.timer != nil {
		p.timer.Stop()
	}
}

func (p *seat) Write(b []byte) {
	p.stop()
	p.at = append(p.at, time.Now())
	p.text.Write(b)
	if !p.slow {
		p.guest.Written(nil)
	}
}

func (p *seat) Release(keep bool) {
	p.stop()
	p.released = append(p.released, keep)
}

// body is what the client has been sent, without its framing.
func (p *seat) body(t *testing.T) string {
	t.Helper()
	text, err := io.ReadAll(httputil.NewChunkedReader(io.MultiReader(bytes.NewReader(p.text.Bytes()), strings.NewReader("0\r\n\r\n"))))
	require.NoError(t, err)
	return string(text)
}

// holds makes a held stream of a user that waits from a position on.
func (r *rig) holds(expires time.Time, epoch string) (*held, *seat) {
	q := gateway.Query{Limit: defaultLimit, Wait: untilExpiry(nextHeartbeat(), expires), Resumes: true}
	q.Caller.Subject = "bob"
	_, parked, err := r.gateway.Start(context.Background(), q)
	require.NoError(r.t, err)
	h := &held{api: r.api, parked: parked, expires: expires, epoch: epoch}
	p := &seat{guest: h}
	h.spot = p
	h.begin()
	return h, p
}

func (r *rig) publish(text string) {
	r.shelf.messages = append(r.shelf.messages, text)
	b, err := r.shelf.Read(context.Background(), "bob", int64(len(r.shelf.messages)-1), 1)
	require.NoError(r.t, err)
	e, err := delivery.Stored(b.Items[0], nil)
	require.NoError(r.t, err)
	r.gateway.Receive("bob", e.Encode(), nil)
}

func TestAHeldStreamIsWrittenToEveryFifteenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		h, p := r.holds(time.Now().Add(24*time.Hour), "epoch")
		before := time.Now()
		<-time.After(time.Hour)
		require.Equal(t, strings.Repeat(heartbeatText, len(p.at)), p.body(t))
		require.GreaterOrEqual(t, len(p.at), 240)
		for _, at := range p.at {
			require.LessOrEqual(t, at.Sub(before), heartbeat)
			require.GreaterOrEqual(t, at.Sub(before), heartbeat-heartbeatEarly)
			before = at
		}
		// An event is as good as a heartbeat: the next one comes so much later.
		<-time.After(10 * time.Second)
		beats := len(p.at)
		r.publish("hello")
		synctest.Wait()
		require.Contains(t, p.body(t), "hello")
		require.Len(t, p.at, beats+1)
		before = p.at[beats]
		<-time.After(heartbeat)
		require.GreaterOrEqual(t, p.at[beats+1].Sub(before), heartbeat-heartbeatEarly)
		h.Gone()
		synctest.Wait()
		require.Equal(t, []bool{false}, p.released)
		require.Zero(t, r.gateway.Open())
	})
}

// TestHeldStreamsThatBeganTogetherAreNotWrittenToTogetherForEver: what hits them all at once wears off.
func TestHeldStreamsThatBeganTogetherAreNotWrittenToTogetherForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const streams = 60
		r := newRig(t)
		places := make([]*seat, streams)
		for i := range places {
			_, places[i] = r.holds(time.Now().Add(24*time.Hour), "epoch")
		}
		<-time.After(10 * time.Minute)
		seconds := map[int64]int{}
		for _, p := range places {
			seconds[p.at[len(p.at)-1].Unix()]++
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
		<-time.After(41 * time.Second)
		synctest.Wait()
		require.Equal(t, expires, p.at[len(p.at)-1], "the last heartbeat, and the end")
		require.Empty(t, tokens.answers)
		require.True(t, strings.HasSuffix(p.text.String(), string(lastChunk)))
		require.Equal(t, []bool{true}, p.released)
		require.Zero(t, r.gateway.Open())
	})
}

// TestAHeldStreamWhoseEpochIsAnotherIsResetFirst: nobody was there to be told when the log became another one.
func TestAHeldStreamWhoseEpochIsAnotherIsResetFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, p := r.holds(time.Now().Add(time.Hour), "another")
		<-time.After(heartbeat)
		require.Equal(t, heartbeatText+"event: reset\nid: 0\ndata: {\"type\":\"reset\",\"cursor\":\"epoch.0\"}\n\n", p.body(t))
		<-time.After(heartbeat)
		require.True(t, strings.HasSuffix(p.body(t), heartbeatText))
		r.gateway.Stop()
		synctest.Wait()
	})
}

// TestAHeldStreamIsGivenNoMoreWhileItsClientDoesNotRead: one answer is kept for it, and the rest stays where it is.
func TestAHeldStreamIsGivenNoMoreWhileItsClientDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		_, p := r.holds(time.Now().Add(time.Hour), "epoch")
		p.slow = true
		for n := range 20 { // more than the ring holds
			r.publish(fmt.Sprintf("text %d.", n))
		}
		<-time.After(5 * time.Minute)
		require.Len(t, p.at, 1)
		require.Equal(t, 1, strings.Count(p.body(t), "data: "))
		p.slow = false
		p.guest.Written(nil)
		synctest.Wait()
		require.Equal(t, 20, strings.Count(p.body(t), "data: "))
		for n := range 20 {
			require.Contains(t, p.body(t), fmt.Sprintf("id: %d\n", n+1))
		}
		r.gateway.Stop()
		synctest.Wait()
		require.Equal(t, []bool{false}, p.released, "a node that stops asks to connect elsewhere")
	})
}

// TestTheTableOfAStreamIsWhatItDoes has every event happen in every state.
func TestTheTableOfAStreamIsWhatItDoes(t *testing.T) {
	effects := map[streamAction]struct {
		next     streamState
		written  string
		released []bool
	}{
		withdraw: {next: streamEnded, released: []bool{false}},
		expire:   {next: streamWaits, written: heartbeatText}, // written at once, and it waits again
		send:     {next: streamWaits, written: "id: 1\n"},
		goOn:     {next: streamWaits},
		breakOff: {next: streamEnded, released: []bool{false}},
		// The epoch is asked for after a write, and the stream waits.
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
					require.Equal(t, want.written == "", len(p.at) == 0)
					require.Equal(t, want.released, p.released)
					h.leave(p)
					require.Len(t, p.released, 1)
					require.Zero(t, r.gateway.Open())
				})
			})
		}
	}
}

// into brings a stream that waits into another state.
func (h *held) into(s streamState, p *seat) {
	switch s {
	case streamWrites, streamAsks:
		p.slow = true
		h.parked.Expire()
		synctest.Wait()
		if h.state = s; s == streamAsks {
			h.turn.current, h.turn.then = "epoch", (*held).resume
		}
	case streamEnded:
		h.Gone()
		synctest.Wait()
	}
	p.slow, p.at, p.released = false, nil, nil
	p.text.Reset()
}

// happens has an event happen, by what causes it if it means anything.
func (h *held) happens(r *rig, e streamEvent, means bool) {
	switch {
	case e == completed && means:
		r.publish("hello")
	case e == timeUp && means:
		<-time.After(time.Until(h.parked.Until()))
	default:
		h.post(e)
	}
}

// leave ends a stream.
func (h *held) leave(p *seat) {
	switch h.state {
	case streamWaits:
		h.Gone()
	case streamWrites:
		h.Written(errGone)
	case streamAsks:
		h.state = streamWrites
		h.Written(errGone)
	case streamEnded:
		if len(p.released) == 0 {
			p.Release(false) // it had left before it was looked at
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
