package parking

import (
	"bufio"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/admission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for a condition.
const patience = 20 * time.Second

// visitor is a handler whose answer a test triggers.
type visitor struct {
	spot *Spot
	keep bool
	// settled is set by the first end.
	settled atomic.Bool
	gone    chan struct{}
	expired chan struct{}
	written chan error
	holder  admission.Holder
}

func newVisitor() *visitor {
	return &visitor{keep: true, gone: make(chan struct{}), expired: make(chan struct{}), written: make(chan error, 1)}
}

func (v *visitor) Expired() {
	if v.settled.CompareAndSwap(false, true) {
		close(v.expired)
		v.spot.WriteParts(respond("expired", v.keep)...)
	}
}

func (v *visitor) Gone() {
	if v.settled.CompareAndSwap(false, true) {
		close(v.gone)
		v.spot.Release(false)
	}
}

func (v *visitor) Holder() admission.Holder { return v.holder }

func (v *visitor) Written(err error) {
	v.written <- err
	v.spot.Release(v.keep && err == nil)
}

func (v *visitor) answer(body string) {
	if v.settled.CompareAndSwap(false, true) {
		v.spot.WriteParts(respond(body, v.keep)...)
	}
}

// respond makes a response, in parts of which one is empty.
func respond(body string, keep bool) [][]byte {
	r := &http.Response{
		StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Close: !keep,
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
	}
	var text strings.Builder
	_ = r.Write(&text) // a Builder does not fail
	all := []byte(text.String())
	cut := len(all) - len(body)
	return [][]byte{all[:cut/2], all[cut/2 : cut], nil, all[cut:]}
}

// parkServer is an HTTP server with a Lot. /park?wait=1m parks; any other path is answered with the path.
type parkServer struct {
	t       testing.TB
	lot     *Lot
	server  *http.Server
	address string
	arrived chan *visitor
	// blocked counts the requests that could not park.
	blocked atomic.Int64
	// last makes the answer of a parked request the last one of its connection.
	last atomic.Bool
}

func quick() Config {
	return Config{IdleTimeout: time.Minute, WriteTimeout: time.Minute, Unread: admission.New(admission.Config{Size: 1 << 20})}
}

func newInn(t testing.TB, cfg Config) *parkServer {
	l, err := New(cfg, NewMetrics(nil))
	require.NoError(t, err)
	i := &parkServer{t: t, lot: l, arrived: make(chan *visitor, 4096)}
	mux := http.NewServeMux()
	mux.HandleFunc("/park", i.park)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })
	i.server = &http.Server{
		Handler: mux, ConnContext: l.ConnContext, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0),
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	i.address = listener.Addr().String()
	ended := make(chan struct{}, 2)
	for _, l := range []net.Listener{listener, l.Returned()} {
		go func() {
			_ = i.server.Serve(l)
			ended <- struct{}{}
		}()
	}
	t.Cleanup(func() {
		_ = i.server.Close()
		l.Stop()
		<-ended
		<-ended
		i.settled()
	})
	return i
}

// settled expects that no handler is left in the Lot.
func (i *parkServer) settled() {
	require.Eventually(i.t, func() bool {
		i.lot.mu.Lock()
		defer i.lot.mu.Unlock()
		return i.lot.handlers == 0
	}, patience, time.Millisecond)
	require.Zero(i.t, i.lot.cfg.Unread.Held())
}

func (i *parkServer) park(w http.ResponseWriter, r *http.Request) {
	wait, err := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil {
		wait = time.Minute
	}
	v := newVisitor()
	v.keep = !r.Close && !i.last.Load()
	v.spot, err = i.lot.Take(r, http.NewResponseController(w).Hijack, v)
	if err != nil {
		i.blocked.Add(1)
		_, _ = io.WriteString(w, "blocked")
		return
	}
	v.spot.Wait(wait)
	i.arrived <- v
}

// client is one connection.
type client struct {
	t testing.TB
	net.Conn
	in *bufio.Reader
}

func (i *parkServer) dial() *client { return i.dialFor(i.t) }

func (i *parkServer) dialFor(t testing.TB) *client {
	var d net.Dialer
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", i.address)
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _ = c.Close() })
	return &client{t, c, bufio.NewReader(c)}
}

func (c *client) send(paths ...string) {
	var text strings.Builder
	for _, p := range paths {
		text.WriteString("GET " + p + " HTTP/1.1\r\nHost: inn\r\n\r\n")
	}
	_, err := io.WriteString(c, text.String())
	require.NoError(c.t, err)
}

// expect reads a response with that body.
func (c *client) expect(body string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.in, nil)
	require.NoError(c.t, err)
	got, err := io.ReadAll(res.Body)
	require.NoError(c.t, err)
	require.NoError(c.t, res.Body.Close())
	require.Equal(c.t, body, string(got))
}

func (c *client) expectEnd() {
	c.t.Helper()
	_, err := c.in.ReadByte()
	require.ErrorIs(c.t, err, io.EOF)
}

// parked sends a request that parks and returns its handler.
func (i *parkServer) parked(c *client) *visitor {
	c.send("/park")
	return <-i.arrived
}

func eventually[T any](t testing.TB, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		require.Fail(t, "it has not come")
	}
	return v
}

// descriptors counts the open files of this process.
func descriptors(t testing.TB) int {
	list, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(list)
}
