package parking

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What a poller waits for. It reports a socket once, and again only after it was armed again. It reports a broken socket in any case.
const (
	forBreak  = unix.EPOLLONESHOT
	forEnd    = unix.EPOLLONESHOT | unix.EPOLLRDHUP
	forClient = unix.EPOLLONESHOT | unix.EPOLLIN | unix.EPOLLRDHUP
	forRoom   = unix.EPOLLONESHOT | unix.EPOLLOUT
)

// poller is an epoll instance. The Go runtime polls it like any other file, so waiting takes no thread.
type poller struct {
	file *os.File
	raw  syscall.RawConn
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, errors.Join(fmt.Errorf("epoll: %w", err), unix.Close(fd))
	}
	file := os.NewFile(uintptr(fd), "epoll")
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("epoll: %w", err), file.Close())
	}
	return &poller{file: file, raw: raw}, nil
}

func (p *poller) control(op, fd int, generation, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(fd), Pad: int32(generation)}
	var err error
	failed := p.raw.Control(func(epoll uintptr) { err = unix.EpollCtl(int(epoll), op, fd, &e) })
	return errors.Join(failed, err)
}

// wait blocks until there are events, and returns them, or until the deadline has passed.
func (p *poller) wait(events []unix.EpollEvent) (n int, err error) {
	var fault error
	err = p.raw.Read(func(fd uintptr) bool {
		for {
			n, fault = unix.EpollWait(int(fd), events, 0)
			if !errors.Is(fault, unix.EINTR) {
				return n != 0
			}
		}
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, nil
	case err != nil:
		return 0, err
	}
	return max(n, 0), fault
}

// until sets the deadline of wait; the zero time means none.
func (p *poller) until(t time.Time) { _ = p.file.SetReadDeadline(t) }

func (p *poller) close() { _ = p.file.Close() }
