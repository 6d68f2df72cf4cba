// Package parking keeps the connections of clients that wait for an answer, or for the next part of one. A Lot takes such a connection
// over from the HTTP server and keeps only the socket and a small record: no goroutine, no request, no buffers. It writes bytes as given
// and knows nothing of HTTP. After the answer the connection waits for the client's next request, and then goes back to the HTTP server.
//
// It works on Linux, for HTTP/1.1 on plain TCP. Elsewhere no connection can be taken over, and the handler has to block.
package parking

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/sealpost/sealpost/pkg/admission"
)

var (
	// ErrUnable means that a connection cannot be taken over, and is untouched.
	ErrUnable = errors.New("parking: connection cannot be taken over")
	// ErrLost means that a connection broke during the takeover.
	ErrLost = errors.New("parking: connection lost")
	// ErrSlow means that a client did not read its answer in time.
	ErrSlow = errors.New("parking: client does not take its answer")
	// ErrUnread means that clients have left too many bytes unread, and that this answer was not buffered, or no longer.
	ErrUnread = errors.New("parking: too many answers are unread")
	// ErrStopped means that the Lot was stopped before the client had read its answer.
	ErrStopped = errors.New("parking: stopped")
)

// Handler is the owner of a parked connection. One goroutine of the Lot calls these methods, so they must not block. Expired, Gone and a
// Write may happen at the same instant: the handler decides which comes first.
type Handler interface {
	// Expired is called when the time of the last Wait has passed.
	Expired()
	// Gone is called when the client has closed the connection. The handler then calls Release, unless it has called Write.
	Gone()
	// Written is called once for each Write: with nil when the kernel has taken all bytes, else with the error. The handler then writes more,
	// waits again, or releases the connection; after an error it must release it. If the kernel takes everything at once, Written is called
	// before Write returns.
	Written(err error)
	// Holder returns on whose account the connection holds what its client has not read.
	Holder() admission.Holder
}

// Config holds the settings.
type Config struct {
	// IdleTimeout is how long an answered connection waits for the client's next request.
	IdleTimeout time.Duration
	// WriteTimeout is how long a client may take none of the bytes that wait for it.
	WriteTimeout time.Duration
	// Unread bounds the bytes that were written and that clients have not read yet, over all connections. When it is full, the answer of
	// who holds most, or is slowest, ends with ErrUnread.
	Unread *admission.Pool
}

type connKey struct{}

// mark is what a connection's context holds for Take.
type mark struct {
	lot  *Lot
	conn net.Conn
}

// ConnContext is for http.Server.ConnContext. It lets Take find the connection of a request.
func (l *Lot) ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, mark{l, c})
}
