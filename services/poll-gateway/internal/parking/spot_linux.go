package parking

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealpost/sealpost/pkg/admission"
)

// Spot is a connection in a Lot.
type Spot struct {
	lot        *Lot
	fd         int
	generation uint32
	timing     timing

	mu    sync.Mutex
	state state
	// spoken: the client has sent more after its request. That stays in the socket.
	spoken bool
	// armed is what the poller waits for; 0 once it has reported something.
	armed   uint32
	handler Handler
	// more is nil for most Spots.
	more *more
}

// more is state that only some Spots need.
type more struct {
	// held is the beginning of the client's next request, read together with this one.
	held []byte
	// rest is what the kernel has not taken yet of a write, unread its room.
	rest   []byte
	unread *admission.Holding
}

// keep copies the bytes that were read ahead.
func (s *Spot) keep(c net.Conn, r *bufio.Reader) {
	ahead, _ := r.Peek(r.Buffered()) // cannot fail: these bytes are buffered
	ahead = append([]byte(nil), ahead...)
	if h, ok := c.(*heldConn); ok {
		ahead = append(ahead, h.held...)
	}
	if len(ahead) > 0 {
		s.mu.Lock()
		s.more, s.spoken = &more{held: ahead}, true
		s.mu.Unlock()
	}
}

// arm sets what the poller waits for. s.mu is held.
func (s *Spot) arm(events uint32) {
	if s.armed == events {
		return
	}
	s.armed = events
	// It fails only for an unknown descriptor, and this one is registered.
	_ = s.lot.poller.control(unix.EPOLL_CTL_MOD, s.fd, s.generation, events)
}

// Wait makes the Lot watch the client and the clock: it calls the handler's Gone when the client has closed the connection, and Expired
// after d. Wait may follow a completed Write, so that the handler can write again later, or another Wait, whose time it replaces. During a
// write, and after Release, it does nothing.
func (s *Spot) Wait(d time.Duration) {
	s.mu.Lock()
	if !s.move(toWait) {
		s.mu.Unlock()
		return
	}
	if s.lot.stopped.Load() {
		handler := s.handler
		s.mu.Unlock()
		handler.Gone()
		return
	}
	defer s.mu.Unlock()
	s.lot.wheel.set(s, d)
	s.armForClient()
}

// armForClient watches the client. If the client has sent data ahead of its answer, the poller would report it for ever: from then on
// only the end of the connection is watched.
func (s *Spot) armForClient() {
	if s.spoken {
		s.arm(forEnd)
		return
	}
	s.arm(forClient)
}

// Write sends bytes to the client: a response, or the next part of one. It does not block: bytes that the kernel does not take at once
// are sent when the client makes room, as long as it takes some within each WriteTimeout. The Lot calls Written when all are out; the handler must not write again
// before. Until then the Lot keeps b and does not modify it, so many connections may share it.
func (s *Spot) Write(b []byte) { s.WriteParts(b) }

// WriteParts is Write for bytes in several slices, such as a head of this connection and a shared body.
func (s *Spot) WriteParts(parts ...[]byte) {
	s.mu.Lock()
	if !s.move(toWrite) {
		s.mu.Unlock()
		return
	}
	s.lot.wheel.clear(s)
	s.write(parts)
}

// write continues a write. s.mu is held, and released.
func (s *Spot) write(parts [][]byte) {
	for {
		n, err := unix.Writev(s.fd, parts)
		parts = after(parts, n)
		switch {
		case len(parts) == 0:
			s.finish(nil)
			return
		case errors.Is(err, unix.EINTR) || err == nil:
		case errors.Is(err, unix.EAGAIN):
			s.writeLater(bytes.Join(parts, nil))
			return
		default:
			s.finish(err)
			return
		}
	}
}

// after returns parts without their first n bytes.
func after(parts [][]byte, n int) [][]byte {
	for len(parts) > 0 && n >= len(parts[0]) {
		n -= len(parts[0])
		parts = parts[1:]
	}
	if n > 0 && len(parts) > 0 {
		parts[0] = parts[0][n:]
	}
	return parts
}

// writeLater buffers what the kernel has not taken. s.mu is held, and released.
func (s *Spot) writeLater(rest []byte) {
	l := s.lot
	if s.more == nil {
		s.more = &more{}
	}
	first, progress := s.more.unread == nil, len(s.more.rest)-len(rest)
	s.more.rest = rest
	if first {
		l.metrics.slow.Inc()
		if s.more.unread = l.cfg.Unread.Take(s.handler.Holder(), int64(len(rest))); s.more.unread == nil {
			s.finish(ErrUnread)
			return
		}
		s.more.unread.Loosen(s)
	} else if progress > 0 {
		s.more.unread.Progress(int64(progress))
	}
	if first || progress > 0 {
		l.wheel.set(s, l.cfg.WriteTimeout)
	}
	if l.stopped.Load() {
		s.finish(ErrStopped)
		return
	}
	s.arm(forRoom)
	s.mu.Unlock()
}

// Displaced implements admission.Owner: what the client has not read makes room for others. The caller may have another Spot locked.
func (s *Spot) Displaced() { go s.shed() }

func (s *Spot) shed() {
	s.mu.Lock()
	if s.state != writing || s.more == nil || s.more.unread == nil {
		s.mu.Unlock() // it was read in the meantime
		return
	}
	s.finish(ErrUnread)
}

// finish ends a write and tells the handler. s.mu is held, and released.
func (s *Spot) finish(err error) {
	s.move(wrote)
	s.dropRest()
	s.lot.wheel.clear(s)
	handler := s.handler
	s.mu.Unlock()
	handler.Written(err)
}

func (s *Spot) dropRest() {
	if s.more == nil {
		return
	}
	if s.more.unread != nil {
		s.more.unread.Release()
	}
	if s.more.rest, s.more.unread = nil, nil; s.more.held == nil {
		s.more = nil
	}
}

// Release ends the handler's use of the connection. If keep is set and all writes were successful, the connection waits for the client's
// next request; else it is closed.
func (s *Spot) Release(keep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := closes
	if keep {
		e = keeps
	}
	if !s.move(e) {
		return
	}
	s.handler = nil
	s.lot.leave()
	switch {
	case s.state == ended:
		s.close()
	case s.state == lingering:
		s.linger()
	case s.more != nil && len(s.more.held) > 0:
		s.handBack()
	default:
		s.rest()
	}
}

// rest waits for the next request. s.mu is held.
func (s *Spot) rest() {
	s.more = nil
	if s.lot.isDraining() {
		s.handBackOrClose()
		return
	}
	s.lot.wheel.set(s, s.lot.cfg.IdleTimeout)
	s.arm(forClient)
}

// linger closes our side and waits a moment for the client's. s.mu is held.
func (s *Spot) linger() {
	s.more = nil
	if err := unix.Shutdown(s.fd, unix.SHUT_WR); err != nil || s.lot.stopped.Load() {
		s.close()
		return
	}
	s.lot.wheel.set(s, lingerTime)
	s.arm(forClient)
}

// forget unregisters the socket everywhere. s.mu is held.
func (s *Spot) forget() {
	s.state = ended
	s.dropRest()
	s.more, s.handler = nil, nil
	s.lot.wheel.clear(s)
	_ = s.lot.poller.control(unix.EPOLL_CTL_DEL, s.fd, s.generation, 0)
	s.lot.remove(s)
}

func (s *Spot) close() {
	s.forget()
	closeSocket(s.fd)
}

// handBack returns the connection to the server. s.mu is held.
func (s *Spot) handBack() {
	back := socket{fd: s.fd}
	if s.more != nil {
		back.held = s.more.held
	}
	s.forget()
	s.lot.metrics.returned.Inc()
	s.lot.returned.push(back)
}

// handBackOrClose hands an idle connection back if a request has come, and else closes it. s.mu is held.
func (s *Spot) handBackOrClose() {
	if n, err := s.peek(); err == nil && n > 0 {
		s.handBack()
		return
	}
	s.close()
}

// peek returns whether the client has sent something: 0 without an error means that it has closed its side.
func (s *Spot) peek() (n int, err error) {
	var b [1]byte
	for {
		n, _, err = unix.Recvfrom(s.fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// event handles a report of the poller. A late report, of what was armed before, does no harm.
func (s *Spot) event(events uint32) {
	s.mu.Lock()
	s.armed = 0
	switch s.state {
	case waiting:
		if s.clientEvent(events) {
			handler := s.handler
			s.mu.Unlock()
			handler.Gone()
			return
		}
	case writing:
		s.write([][]byte{s.more.rest})
		return
	case idle:
		if _, err := s.peek(); errors.Is(err, unix.EAGAIN) {
			s.arm(forClient) // a late report
			break
		}
		s.handBackOrClose()
	case lingering:
		if n, err := s.peek(); (err == nil && n > 0) || errors.Is(err, unix.EAGAIN) {
			s.arm(forBreak) // the client has not closed: the deadline ends it
			break
		}
		s.close()
	}
	s.mu.Unlock()
}

// clientEvent reports whether the client of a waiting handler has gone. s.mu is held.
func (s *Spot) clientEvent(events uint32) (gone bool) {
	if events&(unix.EPOLLERR|unix.EPOLLHUP|unix.EPOLLRDHUP) != 0 {
		return true
	}
	n, err := s.peek()
	switch {
	case errors.Is(err, unix.EAGAIN):
	case err != nil || n <= 0:
		return true
	default:
		s.spoken = true
	}
	s.armForClient()
	return false
}

// expire is called when the deadline has passed.
func (s *Spot) expire() {
	s.mu.Lock()
	if s.lot.wheel.has(s) {
		s.mu.Unlock() // it has been given another one meanwhile
		return
	}
	switch s.state {
	case waiting:
		handler := s.handler
		s.mu.Unlock()
		handler.Expired()
		return
	case writing:
		s.finish(ErrSlow)
		return
	case idle, lingering:
		s.close()
	}
	s.mu.Unlock()
}

// dismiss lets an idle connection go.
func (s *Spot) dismiss() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == idle {
		s.handBackOrClose()
	}
}

// abandon ends the connection whatever it is there for. The Lot's goroutine has ended.
func (s *Spot) abandon() {
	s.mu.Lock()
	switch s.state {
	case waiting:
		handler := s.handler
		s.mu.Unlock()
		handler.Gone()
		return
	case writing:
		s.finish(ErrStopped)
		return
	case idle, lingering:
		s.close()
	}
	s.mu.Unlock()
}
