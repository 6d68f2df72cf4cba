package parking

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// state is what a Spot's connection is there for.
type state uint8

const (
	// fresh: taken over; nobody looks at it yet.
	fresh state = iota
	// waiting: the guest waits; the client and the clock are watched.
	waiting
	// writing: the client has not taken all of what the guest wrote.
	writing
	// written: all is out, or could not be written; the guest decides what is next.
	written
	// idle: the guest has left; the client's next request is awaited.
	idle
	// lingering: our side is closed, the client's is not.
	lingering
	// ended: the descriptor is not ours any more.
	ended

	states
)

// step is what moves a Spot from one state to another.
type step uint8

const (
	// toWait and toWrite: the guest calls Wait or Write.
	toWait step = iota
	toWrite
	// wrote: a write has ended, well or not.
	wrote
	// keeps and closes: the guest calls Release, and the connection lives on or not.
	keeps
	closes
	// clientGone and timeUp: the client has closed the connection, or the deadline has passed.
	clientGone
	timeUp

	steps
)

const (
	// ignored is the next state of a step that means nothing: no step leads back to fresh.
	ignored = fresh
	// told is the next state of a step that the guest is told of. The state stays: the guest decides what is next.
	told = states
)

// transitions is the table of a Spot. Of steps that happen at the same instant, the second finds nothing left to do.
var transitions = [states][steps]state{
	fresh:     {toWait: waiting, toWrite: writing, keeps: ended, closes: ended},
	waiting:   {toWait: waiting, toWrite: writing, keeps: ended, closes: ended, clientGone: told, timeUp: told},
	writing:   {wrote: written, timeUp: written},
	written:   {toWait: waiting, toWrite: writing, keeps: idle, closes: lingering},
	idle:      {clientGone: ended, timeUp: ended},
	lingering: {clientGone: ended, timeUp: ended},
	ended:     {},
}

// move takes a step, and reports whether it means anything in the present state. s.mu is held.
func (s *Spot) move(e step) bool {
	next := transitions[s.state][e]
	if next != ignored && next != told {
		s.state = next
	}
	return next != ignored
}

// Spot is a connection in a Lot.
type Spot struct {
	lot        *Lot
	fd         int
	generation uint32
	timing     timing

	mu    sync.Mutex
	state state
	// spoken: the client has sent something since its request. It stays in the socket.
	spoken bool
	// armed is what the poller looks out for; 0 once it has reported something.
	armed uint32
	guest Guest
	// more is nil for most.
	more *more
}

// more is what only some Spots have.
type more struct {
	// held was read together with the request: the beginning of the client's next one.
	held []byte
	// rest is what the client has not taken of what was written.
	rest []byte
}

// keep copies what was read ahead.
func (s *Spot) keep(c net.Conn, r *bufio.Reader) {
	ahead, _ := r.Peek(r.Buffered()) // what is buffered can be peeked at
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

// arm has the poller look out for something. s.mu is held.
func (s *Spot) arm(events uint32) {
	if s.armed == events {
		return
	}
	s.armed = events
	// It fails only if the descriptor is not there, and that it is.
	_ = s.lot.poller.control(unix.EPOLL_CTL_MOD, s.fd, s.generation, events)
}

// Wait has the Lot watch the client and the clock: the guest is told when the client has gone, and when d has passed. It may
// follow a Write that has ended, for the guest to write again later, or another Wait, whose time it replaces. While a write is
// under way, and after Release, it does nothing.
func (s *Spot) Wait(d time.Duration) {
	s.mu.Lock()
	if !s.move(toWait) {
		s.mu.Unlock()
		return
	}
	if s.lot.stopped.Load() {
		guest := s.guest
		s.mu.Unlock()
		guest.Gone()
		return
	}
	defer s.mu.Unlock()
	s.lot.wheel.set(s, d)
	s.armForClient()
}

// armForClient looks out for the client. One that has sent something ahead of its answer would be reported for ever: from
// then on it is only noticed when it ends its connection.
func (s *Spot) armForClient() {
	if s.spoken {
		s.arm(forEnd)
		return
	}
	s.arm(forClient)
}

// Write sends bytes to the client: a response, or the next part of one. It does not wait: what the client does not take at once,
// it is given when it does, within the time to write. The guest is told when all is out, and must not write again before.
// The bytes are kept until then, and not changed: many connections may be given the same.
func (s *Spot) Write(b []byte) { s.WriteParts(b) }

// WriteParts is Write for bytes that lie in several places, such as a head of one's own and a body that others are given, too.
func (s *Spot) WriteParts(parts ...[]byte) {
	s.mu.Lock()
	if !s.move(toWrite) {
		s.mu.Unlock()
		return
	}
	s.lot.wheel.clear(s)
	s.write(parts)
}

// write goes on with a write. s.mu is held, and released.
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

// after is what is left of parts after their first n bytes.
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

// writeLater keeps what the client has not taken. s.mu is held, and released.
func (s *Spot) writeLater(rest []byte) {
	l := s.lot
	if s.more == nil {
		s.more = &more{}
	}
	first := s.more.rest == nil
	unread := l.unread.Add(int64(len(rest) - len(s.more.rest)))
	s.more.rest = rest
	if first {
		l.metrics.slow.Inc()
		if unread > l.cfg.MaxUnread {
			s.finish(ErrUnread)
			return
		}
		l.wheel.set(s, l.cfg.WriteTimeout)
	}
	if l.stopped.Load() {
		s.finish(ErrStopped)
		return
	}
	s.arm(forRoom)
	s.mu.Unlock()
}

// finish ends a write and tells the guest. s.mu is held, and released.
func (s *Spot) finish(err error) {
	s.move(wrote)
	s.dropRest()
	s.lot.wheel.clear(s)
	guest := s.guest
	s.mu.Unlock()
	guest.Written(err)
}

func (s *Spot) dropRest() {
	if s.more == nil {
		return
	}
	s.lot.unread.Add(-int64(len(s.more.rest)))
	if s.more.rest = nil; s.more.held == nil {
		s.more = nil
	}
}

// Release ends the guest's stay. If keep is set and the client has been sent all that was written, the connection waits for its
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
	s.guest = nil
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
		s.letGo()
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

// forget takes the socket out of everything. s.mu is held.
func (s *Spot) forget() {
	s.state = ended
	s.dropRest()
	s.more, s.guest = nil, nil
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

// letGo hands an idle connection back if a request is there, and else closes it. s.mu is held.
func (s *Spot) letGo() {
	if n, err := s.peek(); err == nil && n > 0 {
		s.handBack()
		return
	}
	s.close()
}

// peek reports whether the client has sent something: 0 and no error is the end of what it sends.
func (s *Spot) peek() (n int, err error) {
	var b [1]byte
	for {
		n, _, err = unix.Recvfrom(s.fd, b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// event is called when the socket is reported. An old report, of what was looked out for before, does no harm.
func (s *Spot) event(events uint32) {
	s.mu.Lock()
	s.armed = 0
	switch s.state {
	case waiting:
		if s.clientEvent(events) {
			guest := s.guest
			s.mu.Unlock()
			guest.Gone()
			return
		}
	case writing:
		s.write([][]byte{s.more.rest})
		return
	case idle:
		if _, err := s.peek(); errors.Is(err, unix.EAGAIN) {
			s.arm(forClient) // the report is an old one
			break
		}
		s.letGo()
	case lingering:
		if n, err := s.peek(); (err == nil && n > 0) || errors.Is(err, unix.EAGAIN) {
			s.arm(forBreak) // more than it was asked for: the deadline ends it
			break
		}
		s.close()
	}
	s.mu.Unlock()
}

// clientEvent reports whether the client of a waiting guest has gone. s.mu is held.
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
		guest := s.guest
		s.mu.Unlock()
		guest.Expired()
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
		s.letGo()
	}
}

// abandon ends the connection whatever it is there for. The Lot's goroutine has ended.
func (s *Spot) abandon() {
	s.mu.Lock()
	switch s.state {
	case waiting:
		guest := s.guest
		s.mu.Unlock()
		guest.Gone()
		return
	case writing:
		s.finish(ErrStopped)
		return
	case idle, lingering:
		s.close()
	}
	s.mu.Unlock()
}
