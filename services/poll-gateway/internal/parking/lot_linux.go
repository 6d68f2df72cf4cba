package parking

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	shards = 64
	// lingerTime is how long a half-closed connection waits for the client to close its side. If it were closed at once, with bytes of the
	// client unread, TCP would reset it, and the client might lose its answer.
	lingerTime = 500 * time.Millisecond
	// batch is how many events one wait returns at most.
	batch = 256
)

// Lot keeps connections that wait. It is safe for concurrent use.
type Lot struct {
	cfg      Config
	metrics  *Metrics
	poller   *poller
	wheel    wheel
	returned *returned
	shards   [shards]shard
	// generation tells apart connections that used the same descriptor one after the other.
	generation atomic.Uint32
	// ended is closed when the Lot's goroutine has ended.
	ended chan struct{}
	// stopped: sockets and deadlines are not watched any more.
	stopped atomic.Bool

	mu sync.Mutex
	// handlers counts the handlers that have not left.
	handlers int
	draining bool
	// empty is closed when handlers reaches 0. It is nil if nobody waits for that.
	empty chan struct{}
}

// shard is a part of the table of connections, by descriptor.
type shard struct {
	mu    sync.Mutex
	spots []*Spot
}

// New makes a Lot. Its connections go back through Returned.
func New(cfg Config, m *Metrics) (*Lot, error) {
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &Lot{cfg: cfg, metrics: m, poller: p, returned: newReturned(), ended: make(chan struct{})}
	l.wheel.start = time.Now()
	l.wheel.wake = func() { p.until(time.Now().Add(tick)) }
	go l.watch()
	return l, nil
}

// Returned is the listener through which connections come back with the client's next request. An http.Server has to serve it.
func (l *Lot) Returned() net.Listener { return l.returned }

// Take takes over the connection of r, with hijack, for handler. If it returns ErrUnable the connection is untouched, and r can be answered
// as usual. After ErrLost r cannot be answered any more.
func (l *Lot) Take(r *http.Request, hijack func() (net.Conn, *bufio.ReadWriter, error), handler Handler) (*Spot, error) {
	at, ok := r.Context().Value(connKey{}).(mark)
	if !ok || at.lot != l || r.TLS != nil || r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.ContentLength != 0 {
		return nil, ErrUnable
	}
	fd, err := duplicate(at.conn)
	if err != nil {
		return nil, ErrUnable
	}
	s := &Spot{lot: l, fd: fd, generation: l.generation.Add(1), handler: handler}
	if !l.enter() {
		closeSocket(fd)
		return nil, ErrUnable
	}
	l.put(s)
	if err := l.poller.control(unix.EPOLL_CTL_ADD, fd, s.generation, forBreak); err != nil {
		s.Release(false)
		return nil, ErrUnable
	}
	conn, buffered, err := hijack()
	if err != nil {
		s.Release(false)
		return nil, ErrLost
	}
	s.keep(conn, buffered.Reader)
	_ = conn.Close() // closes the server's descriptor; ours keeps the connection open
	return s, nil
}

// duplicate makes a second descriptor of the connection. Keeping the net.Conn would take more memory than a parked poll does.
func duplicate(c net.Conn) (fd int, err error) {
	if h, ok := c.(*heldConn); ok {
		c = h.Conn
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return 0, ErrUnable
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Control(func(theirs uintptr) {
		fd, err = unix.FcntlInt(theirs, syscall.F_DUPFD_CLOEXEC, 0)
	})
	return fd, errors.Join(failed, err)
}

func (l *Lot) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.draining {
		return false
	}
	l.handlers++
	l.metrics.waiting.Inc()
	return true
}

func (l *Lot) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.metrics.waiting.Dec()
	if l.handlers--; l.handlers == 0 && l.empty != nil {
		close(l.empty)
		l.empty = nil
	}
}

func (l *Lot) isDraining() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.draining
}

// Drain takes over no more connections, closes or hands back idle ones, and waits until all handlers have left or ctx ends.
func (l *Lot) Drain(ctx context.Context) error {
	l.mu.Lock()
	l.draining = true
	if l.handlers > 0 && l.empty == nil {
		l.empty = make(chan struct{})
	}
	settled := l.empty
	l.mu.Unlock()
	for _, s := range l.all() {
		s.dismiss()
	}
	if settled == nil {
		return nil
	}
	select {
	case <-settled:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop ends the Lot. Handlers that still wait are told that their client has gone.
func (l *Lot) Stop() {
	l.mu.Lock()
	l.draining = true
	l.mu.Unlock()
	// The loop below finds a handler that began to wait before this store; a later Wait sees it.
	l.stopped.Store(true)
	l.poller.close()
	<-l.ended
	for _, s := range l.all() {
		s.abandon()
	}
	_ = l.returned.Close()
}

func (l *Lot) put(s *Spot) {
	sh, i := &l.shards[s.fd%shards], s.fd/shards
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for len(sh.spots) <= i {
		sh.spots = append(sh.spots, nil)
	}
	sh.spots[i] = s
}

func (l *Lot) remove(s *Spot) {
	sh := &l.shards[s.fd%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.spots[s.fd/shards] = nil
}

func (l *Lot) find(fd int, generation uint32) *Spot {
	sh, i := &l.shards[fd%shards], fd/shards
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if i >= len(sh.spots) || sh.spots[i] == nil || sh.spots[i].generation != generation {
		return nil
	}
	return sh.spots[i]
}

func (l *Lot) all() []*Spot {
	var list []*Spot
	for i := range l.shards {
		sh := &l.shards[i]
		sh.mu.Lock()
		for _, s := range sh.spots {
			if s != nil {
				list = append(list, s)
			}
		}
		sh.mu.Unlock()
	}
	return list
}

// watch is the Lot's goroutine. It watches sockets and deadlines.
func (l *Lot) watch() {
	defer close(l.ended)
	events := make([]unix.EpollEvent, batch)
	for {
		l.setAlarm()
		n, err := l.poller.wait(events)
		if err != nil {
			return // closed
		}
		for _, e := range events[:n] {
			if s := l.find(int(e.Fd), uint32(e.Pad)); s != nil {
				s.event(e.Events)
			}
		}
		for _, s := range l.wheel.expired() {
			s.expire()
		}
	}
}

// setAlarm limits the wait for events to a tick, if there are deadlines.
func (l *Lot) setAlarm() {
	l.wheel.mu.Lock()
	defer l.wheel.mu.Unlock()
	if l.wheel.count == 0 {
		l.poller.until(time.Time{})
		return
	}
	l.poller.until(time.Now().Add(tick))
}

func closeSocket(fd int) { _ = unix.Close(fd) }
