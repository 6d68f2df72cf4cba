package natsbus_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/bus"
)

// line is a TCP proxy that a test can make pass nothing on, without a word to either side: as a network does that drops packets. What
// it has taken it passes on later, as what is sent again does.
type line struct {
	listener net.Listener
	upstream string
	tasks    sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	dead    bool
	conns   map[net.Conn]bool
}

// newLine puts one before a server.
func newLine(t *testing.T, url string) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &line{listener: listener, upstream: strings.TrimPrefix(url, "nats://"), conns: map[net.Conn]bool{}}
	l.changed = sync.NewCond(&l.mu)
	l.tasks.Go(l.accept)
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		l.cut()
		l.tasks.Wait()
	})
	return l
}

func (l *line) url() string { return "nats://" + l.listener.Addr().String() }

func (l *line) accept() {
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", l.upstream)
		if err != nil {
			_ = near.Close()
			continue
		}
		l.mu.Lock()
		l.conns[near], l.conns[far] = true, true
		l.mu.Unlock()
		l.tasks.Go(func() { l.pass(far, near) })
		l.tasks.Go(func() { l.pass(near, far) })
	}
}

func (l *line) pass(to, from net.Conn) {
	_, _ = io.Copy(stalled{to, l}, from)
	_ = to.Close()
}

// stalled passes nothing on while the line is dead.
type stalled struct {
	net.Conn
	line *line
}

func (w stalled) Write(p []byte) (int, error) {
	w.line.mu.Lock()
	for w.line.dead && w.line.conns[w.Conn] {
		w.line.changed.Wait()
	}
	w.line.mu.Unlock()
	return w.Conn.Write(p)
}

func (l *line) set(dead bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dead = dead
	l.changed.Broadcast()
}

// cut ends all connections.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
	clear(l.conns)
	l.changed.Broadcast()
}

// TestAConnectionThatGoesSilentIsTakenForNone within seconds, and not after the half a minute in which it is given up.
func TestAConnectionThatGoesSilentIsTakenForNone(t *testing.T) {
	l := newLine(t, address(t))
	r := newReceiver()
	b := connect(t, l.url(), r)
	_, err := b.Subscribe(t.Context(), user(t, "bob"))
	require.NoError(t, err)
	before := r.disrupted()
	began := time.Now()
	l.set(true)
	require.Eventually(t, func() bool { return !b.Connected() && r.disrupted() > before }, patience, time.Millisecond)
	require.Less(t, time.Since(began), 10*time.Second)

	silent := r.disrupted()
	l.set(false)
	require.Eventually(t, func() bool { return b.Connected() && r.disrupted() > silent }, patience, time.Millisecond)
}

// TestAFlushConfirmsWhatWasPublishedBeforeAndNothingElse.
func TestAFlushConfirmsWhatWasPublishedBeforeAndNothingElse(t *testing.T) {
	l := newLine(t, address(t))
	b := connect(t, l.url(), nil)
	bob := user(t, "bob")
	publish := func() { require.NoError(t, b.Publish(bob, []byte("x"), nil)) }
	publish()
	require.NoError(t, b.Flush(t.Context()))
	require.NoError(t, b.Flush(t.Context()))

	publish()
	reconnect(t, b, l)
	require.ErrorIs(t, b.Flush(t.Context()), bus.ErrDisconnected, "the connection it went over is another one")
	publish()
	require.NoError(t, b.Flush(t.Context()), "this one went over the connection that stands")

	publish()
	l.set(true)
	began := time.Now()
	require.ErrorIs(t, b.Flush(t.Context()), bus.ErrDisconnected)
	require.Less(t, time.Since(began), 10*time.Second)

	l.set(false)
	reconnect(t, b, l)
	require.ErrorIs(t, b.Flush(t.Context()), bus.ErrDisconnected)
	require.NoError(t, b.Flush(t.Context()))
}

// reconnect has a bus lose its connection and waits for the next.
func reconnect(t *testing.T, b bus.Subscriber, l *line) {
	t.Helper()
	l.cut()
	require.Eventually(t, func() bool { return !b.Connected() }, patience, time.Millisecond)
	require.Eventually(t, b.Connected, patience, time.Millisecond)
}
