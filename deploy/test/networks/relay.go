package networks

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"
)

// relay is a link that relays TCP connections. It cannot lose packets: what is lost comes late, as TCP repeats it.
type relay struct {
	listener net.Listener
	target   string
	shape    Shape
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup

	mu sync.Mutex
	// open is closed, and replaced, when a direction is silent no more. towardsClient and towardsServer are silent.
	open                         chan struct{}
	towardsClient, towardsServer bool
	// era counts the client's addresses: connections of earlier ones are dead.
	era int
}

// repeatAfter is how late comes what was lost: about the least time after which TCP repeats.
const repeatAfter = 300 * time.Millisecond

func openRelay(ctx context.Context, target string, s Shape) (Link, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: listener, target: target, shape: s, open: make(chan struct{})}
	r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	r.running.Go(r.accept)
	return r, nil
}

func (r *relay) Address() string { return r.listener.Addr().String() }

func (r *relay) Place(*exec.Cmd) error { return nil }

func (r *relay) Silence(towardsClient, towardsServer bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.towardsClient, r.towardsServer = towardsClient, towardsServer
	close(r.open)
	r.open = make(chan struct{})
	return nil
}

func (r *relay) Readdress() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.era++
	return nil
}

func (r *relay) Close() error {
	r.cancel()
	err := r.listener.Close()
	r.running.Wait()
	return err
}

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.serve(client) })
	}
}

// serve relays one connection until both directions have ended.
func (r *relay) serve(client net.Conn) {
	server, err := new(net.Dialer).DialContext(r.ctx, "tcp", r.target)
	if err != nil {
		_ = client.Close()
		return
	}
	stop := context.AfterFunc(r.ctx, func() { _, _ = client.Close(), server.Close() })
	defer stop()
	r.mu.Lock()
	era := r.era
	r.mu.Unlock()
	var last atomic.Int64
	last.Store(time.Now().UnixNano())
	var both sync.WaitGroup
	both.Go(func() { r.pass(client, server, era, &last, func() bool { return r.towardsServer }) })
	both.Go(func() { r.pass(server, client, era, &last, func() bool { return r.towardsClient }) })
	both.Wait()
	_, _ = client.Close(), server.Close()
}

// piece is a part of a connection's bytes that arrives at a time.
type piece struct {
	bytes []byte
	at    time.Time
}

// pass relays one direction: bytes that it reads arrive when the shape says so. last is when something passed on the connection.
func (r *relay) pass(from, to net.Conn, era int, last *atomic.Int64, silent func() bool) {
	const pieces, pieceBytes = 32, 1500
	queue := make(chan piece, pieces)
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(queue)
		var free time.Time
		for {
			b := make([]byte, pieceBytes)
			n, err := r.read(from, b, last)
			if n > 0 {
				free = r.arrival(free, n)
				select {
				case queue <- piece{b[:n], free.Add(r.shape.Delay)}:
				case <-r.ctx.Done():
					return
				}
			}
			if err != nil {
				if errors.Is(err, errIdle) {
					_, _ = from.Close(), to.Close()
				}
				return
			}
		}
	})
	for p := range queue {
		if !r.wait(p.at) || !r.passable(era, silent) {
			break
		}
		if _, err := to.Write(p.bytes); err != nil {
			break
		}
	}
	if half, ok := to.(*net.TCPConn); ok && r.passable(era, silent) {
		_ = half.CloseWrite()
	}
	for range queue { // what nobody takes any more
	}
	reading.Wait()
}

// arrival returns when n bytes have passed the line, which is free from some time on.
func (r *relay) arrival(free time.Time, n int) time.Time {
	if now := time.Now(); free.Before(now) {
		free = now
	}
	if r.shape.Rate > 0 {
		free = free.Add(time.Duration(n) * 8 * time.Second / time.Duration(r.shape.Rate))
	}
	if rand.Float64() < r.shape.Loss {
		free = free.Add(repeatAfter)
	}
	return free
}

// errIdle means that nothing has passed for too long.
var errIdle = errors.New("idle")

// read reads until something comes, or the connection is idle.
func (r *relay) read(from net.Conn, b []byte, last *atomic.Int64) (int, error) {
	for {
		if r.shape.Idle > 0 {
			_ = from.SetReadDeadline(time.Unix(0, last.Load()).Add(r.shape.Idle))
		}
		n, err := from.Read(b)
		var timeout net.Error
		switch {
		case n > 0:
			last.Store(time.Now().UnixNano())
		case errors.As(err, &timeout) && timeout.Timeout():
			if time.Since(time.Unix(0, last.Load())) < r.shape.Idle {
				continue // the other direction is not
			}
			err = errIdle
		}
		return n, err
	}
}

// wait waits until a time; false means that the relay ends.
func (r *relay) wait(at time.Time) bool {
	select {
	case <-time.After(time.Until(at)):
		return true
	case <-r.ctx.Done():
		return false
	}
}

// passable waits while a direction is silent. A connection of an earlier address is so until the relay ends; then it is false.
func (r *relay) passable(era int, silent func() bool) bool {
	for {
		r.mu.Lock()
		good, open := r.era == era && !silent(), r.open
		dead := r.era != era
		r.mu.Unlock()
		if good {
			return true
		}
		if dead {
			open = nil
		}
		select {
		case <-open:
		case <-r.ctx.Done():
			return false
		}
	}
}
