package httpserver

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// setOptions sets the options of a listener's socket: see tcp(7).
func setOptions(_, _ string, c syscall.RawConn) error {
	var err error
	failed := c.Control(func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(peerTimeout.Milliseconds())),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, mostUnsent),
		)
	})
	return errors.Join(failed, err)
}
