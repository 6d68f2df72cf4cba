package networks

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

// Shape is what a link does to everything that passes, in both directions.
type Shape struct {
	// Rate is in bits a second; 0 is unlimited.
	Rate int64
	// Delay is the time that each direction takes.
	Delay time.Duration
	// Loss is the part of the packets that is lost.
	Loss float64
	// Idle, if set, closes connections on which nothing has passed for so long, in the middle of a request or not.
	Idle time.Duration
}

// Link is a network between one client and the server's side. Its methods are called by one goroutine at a time.
type Link interface {
	// Address is the host:port at which the client reaches the other side.
	Address() string
	// Place makes a command, which is not started yet, run at the client's end.
	Place(cmd *exec.Cmd) error
	// Silence makes directions silent: nothing that is sent gets through, and nobody is told. It replaces an earlier Silence.
	Silence(towardsClient, towardsServer bool) error
	// Readdress gives the client another address. Its connections are dead, and nobody is told.
	Readdress() error
	// Close removes the link.
	Close() error
}

// The kinds of links.
const (
	// NetemLink has the kernel shape what passes between two namespaces.
	NetemLink = "netem"
	// TunLink passes on the packets between two namespaces itself.
	TunLink = "tun"
	// RelayLink relays TCP connections.
	RelayLink = "relay"
)

// OpenLink makes a link of a kind to a port of this side.
func OpenLink(ctx context.Context, kind string, port int, s Shape) (Link, error) {
	switch {
	case s.Idle > 0 || kind == RelayLink: // only a middlebox that knows of connections can close them
		return openRelay(ctx, fmt.Sprintf("127.0.0.1:%d", port), s)
	case kind == TunLink || kind == NetemLink:
		return openPackets(kind, port, s)
	}
	return nil, fmt.Errorf("there is no kind of link called %q", kind)
}
