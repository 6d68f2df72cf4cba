package enginetest

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
)

// Line is a TCP proxy that a test can stall without notice to either side, like a network that drops packets. It delivers what it
// has taken later, as a retransmission would.
type Line struct {
	listener net.Listener
	upstream string
	tasks    sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond
	stalled bool
	conns   map[net.Conn]bool
}

// NewLine puts a Line in front of a server's address.
func NewLine(t testing.TB, upstream string) *Line {
	t.Helper()
	var listen net.ListenConfig
	listener, err := listen.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Line{listener: listener, upstream: upstream, conns: map[net.Conn]bool{}}
	l.changed = sync.NewCond(&l.mu)
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		l.accept(context.WithoutCancel(t.Context()))
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-accepting
		l.Cut()
		l.tasks.Wait()
	})
	return l
}

// Addr is the address of the line.
func (l *Line) Addr() string { return l.listener.Addr().String() }

func (l *Line) accept(ctx context.Context) {
	var dialer net.Dialer
	for {
		near, err := l.listener.Accept()
		if err != nil {
			return
		}
		far, err := dialer.DialContext(ctx, "tcp", l.upstream)
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

func (l *Line) pass(to, from net.Conn) {
	_, _ = io.Copy(end{to, l}, from)
	_ = to.Close()
}

// end passes nothing on while the line is stalled.
type end struct {
	net.Conn
	line *Line
}

func (w end) Write(p []byte) (int, error) {
	w.line.mu.Lock()
	for w.line.stalled && w.line.conns[w.Conn] {
		w.line.changed.Wait()
	}
	w.line.mu.Unlock()
	return w.Conn.Write(p)
}

// Stall stops the traffic over the line, or lets it continue.
func (l *Line) Stall(stop bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stalled = stop
	l.changed.Broadcast()
}

// Cut closes all connections; new ones can be made.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Close()
	}
	clear(l.conns)
	l.changed.Broadcast()
}
