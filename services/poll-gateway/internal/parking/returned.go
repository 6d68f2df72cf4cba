package parking

import (
	"net"
	"os"
	"sync"
)

// heldConn is a connection whose first bytes have been read already.
type heldConn struct {
	net.Conn
	held []byte
}

// Read returns the held bytes first.
func (c *heldConn) Read(b []byte) (int, error) {
	if len(c.held) == 0 {
		return c.Conn.Read(b)
	}
	n := copy(b, c.held)
	if c.held = c.held[n:]; len(c.held) == 0 {
		c.held = nil
	}
	return n, nil
}

// socket is a connection that goes back to the server.
type socket struct {
	fd   int
	held []byte
}

// returned is the listener through which connections go back to the server.
type returned struct {
	mu     sync.Mutex
	queue  []socket
	ended  bool
	wake   chan struct{}
	closed chan struct{}
}

func newReturned() *returned {
	return &returned{wake: make(chan struct{}, 1), closed: make(chan struct{})}
}

// push queues a socket for Accept, or closes it if the listener is closed.
func (r *returned) push(s socket) {
	r.mu.Lock()
	ended := r.ended
	if !ended {
		r.queue = append(r.queue, s)
	}
	r.mu.Unlock()
	if ended {
		closeSocket(s.fd)
		return
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *returned) pop() (s socket, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		r.queue = nil
		return socket{}, false
	}
	s = r.queue[0]
	r.queue[0] = socket{}
	r.queue = r.queue[1:]
	return s, true
}

// Accept implements net.Listener.
func (r *returned) Accept() (net.Conn, error) {
	for {
		for {
			s, ok := r.pop()
			if !ok {
				break
			}
			if c, err := s.conn(); err == nil {
				return c, nil
			}
		}
		select {
		case <-r.wake:
		case <-r.closed:
			return nil, net.ErrClosed
		}
	}
}

// conn makes a net.Conn of the socket.
func (s socket) conn() (net.Conn, error) {
	file := os.NewFile(uintptr(s.fd), "tcp")
	c, err := net.FileConn(file) // duplicates the descriptor
	_ = file.Close()
	if err != nil {
		return nil, err
	}
	if len(s.held) > 0 {
		return &heldConn{Conn: c, held: s.held}, nil
	}
	return c, nil
}

// Close implements net.Listener.
func (r *returned) Close() error {
	r.mu.Lock()
	queue := r.queue
	ended := r.ended
	r.queue, r.ended = nil, true
	r.mu.Unlock()
	for _, s := range queue {
		closeSocket(s.fd)
	}
	if !ended {
		close(r.closed)
	}
	return nil
}

// Addr implements net.Listener.
func (*returned) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "tcp" }
func (address) String() string  { return "returned connections" }
