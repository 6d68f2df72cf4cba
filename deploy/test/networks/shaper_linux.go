package networks

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxPacket is more than the devices' MTU.
const maxPacket = 2048

// queuePackets is how many packets a direction holds: what is under way, and two seconds of waiting before a slow link, as in routers
// with buffers that are too large. What is more is lost.
func queuePackets(s Shape) int {
	const waiting, smallest = 2, 20
	if s.Rate == 0 {
		return 10_000
	}
	perSecond := float64(s.Rate) / 8 / 1500
	return smallest + int(perSecond*(waiting+s.Delay.Seconds()))
}

// shaper passes packets on between two TUN devices, as netem would.
type shaper struct {
	near, far *os.File
	shape     Shape
	running   sync.WaitGroup
	ended     chan struct{}
}

// flying is a packet that arrives at a time.
type flying struct {
	packet []byte
	at     time.Time
}

func newShaper(near, far *os.File, s Shape) *shaper {
	h := &shaper{near: near, far: far, shape: s, ended: make(chan struct{})}
	h.pass(near, far)
	h.pass(far, near)
	return h
}

// pass passes packets on in one direction.
func (h *shaper) pass(from, to *os.File) {
	queue := make(chan flying, queuePackets(h.shape))
	h.running.Go(func() {
		defer close(queue)
		h.take(from, queue)
	})
	h.running.Go(func() {
		for f := range queue {
			select {
			case <-time.After(time.Until(f.at)):
				_, _ = to.Write(f.packet) // a device that is down loses it
			case <-h.ended:
			}
		}
	})
}

// take reads packets, and decides when each arrives, and whether.
func (h *shaper) take(from *os.File, queue chan<- flying) {
	var free time.Time // when the line is free again
	for {
		b := make([]byte, maxPacket)
		n, err := from.Read(b)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil || n == 0 {
			if h.wasClosed() {
				return
			}
			continue // a device that is down
		}
		if rand.Float64() < h.shape.Loss {
			continue
		}
		if now := time.Now(); free.Before(now) {
			free = now
		}
		if h.shape.Rate > 0 {
			free = free.Add(time.Duration(n) * 8 * time.Second / time.Duration(h.shape.Rate))
		}
		select {
		case queue <- flying{b[:n], free.Add(h.shape.Delay)}:
		default: // the queue is full
		}
	}
}

func (h *shaper) wasClosed() bool {
	select {
	case <-h.ended:
		return true
	case <-time.After(10 * time.Millisecond): // a device that comes up soon
		return false
	}
}

func (h *shaper) close() error {
	close(h.ended)
	err := errors.Join(h.near.Close(), h.far.Close())
	h.running.Wait()
	return err
}

// openTun makes a TUN device, which lives as long as the file.
func openTun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(fmt.Errorf("tun device %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}
