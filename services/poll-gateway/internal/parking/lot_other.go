//go:build !linux

package parking

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"time"
)

// Lot takes over no connections on this system.
type Lot struct{ returned *returned }

// New makes a Lot that can take over no connection.
func New(Config, *Metrics) (*Lot, error) { return &Lot{returned: newReturned()}, nil }

// Returned is a listener that accepts nothing.
func (l *Lot) Returned() net.Listener { return l.returned }

// Take returns ErrUnable.
func (*Lot) Take(*http.Request, func() (net.Conn, *bufio.ReadWriter, error), Handler) (*Spot, error) {
	return nil, ErrUnable
}

// Drain does nothing.
func (*Lot) Drain(context.Context) error { return nil }

// Stop closes the listener.
func (l *Lot) Stop() { _ = l.returned.Close() }

// Spot is never made on this system.
type Spot struct{ timing timing }

// Wait does nothing.
func (*Spot) Wait(time.Duration) {}

// Write does nothing.
func (*Spot) Write([]byte) {}

// WriteParts does nothing.
func (*Spot) WriteParts(...[]byte) {}

// Release does nothing.
func (*Spot) Release(bool) {}

func closeSocket(int) {}
