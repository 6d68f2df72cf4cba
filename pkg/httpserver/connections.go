package httpserver

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sealpost/sealpost/pkg/admission"
)

// connections bounds the connections of a server by address. When it has as many as it may, those of the address, and then of the network,
// with most make room: the oldest first, at once if it is idle, or after its answer. Otherwise one stranger's idle connections would take all
// descriptors. Trusted proxies are left out, as theirs are everybody's; so are connections that have been taken over, which have bounds of their
// own.
type connections struct {
	pool    *admission.Pool
	trusted []netip.Prefix
	open    sync.Map // of *connection, by net.Conn
}

// The states of a connection.
const (
	connIdle = iota
	connBusy
	connDisplaced
)

// connection is one that is counted.
type connection struct {
	conn  net.Conn
	held  *admission.Holding
	state atomic.Int32
}

// connectionBound is the bound of so many connections.
func connectionBound(most int64) admission.Config {
	// Any rate is more than a connection makes: so the oldest gives way where all have as few.
	return admission.Config{Size: most, LeastRate: 1}
}

// changed is an http.Server's ConnState.
func (c *connections) changed(conn net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		c.add(conn)
	case http.StateActive:
		if n := c.of(conn); n != nil {
			n.state.CompareAndSwap(connIdle, connBusy)
		}
	case http.StateIdle:
		if n := c.of(conn); n != nil && !n.state.CompareAndSwap(connBusy, connIdle) {
			_ = conn.Close()
		}
	case http.StateHijacked, http.StateClosed:
		if n, there := c.open.LoadAndDelete(conn); there {
			n.(*connection).held.Release() //nolint:forcetypeassert // only add stores
		}
	}
}

func (c *connections) of(conn net.Conn) *connection {
	n, _ := c.open.Load(conn)
	found, _ := n.(*connection)
	return found
}

// add counts a new connection, or closes it if there is no room.
func (c *connections) add(conn net.Conn) {
	address := peerOf(conn)
	if slices.ContainsFunc(c.trusted, func(p netip.Prefix) bool { return p.Contains(address) }) {
		return
	}
	n := &connection{conn: conn}
	n.held = c.pool.Take(admission.Holder{User: admission.Address(address), Network: admission.NetworkOf(address)}, 1)
	if n.held == nil {
		_ = conn.Close()
		return
	}
	c.open.Store(conn, n)
	n.held.Loosen(n)
}

// Displaced implements admission.Owner.
func (n *connection) Displaced() {
	if n.state.Swap(connDisplaced) == connIdle {
		_ = n.conn.Close()
	}
}

// peerOf returns the address that a connection comes from; the zero value if it has none.
func peerOf(conn net.Conn) netip.Addr {
	peer, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return peer.Addr().Unmap()
}
