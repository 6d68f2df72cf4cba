// Package parking keeps the connections of clients that wait for an answer, or for the next part of one. A Lot takes such a
// connection over from the HTTP server and keeps only the socket and a small record: no goroutine, no request, no buffers.
// What is written it writes as it is: it knows nothing of HTTP. When the answer is complete the connection waits on for the
// client's next request, and then goes back to the HTTP server.
//
// It works on Linux, for HTTP/1.1 on plain TCP. Elsewhere nothing can be taken over, and whoever wants to wait blocks.
package parking

import (
	"context"
	"errors"
	"net"
	"time"
)

var (
	// ErrUnable means that a connection cannot be taken over: nothing has happened to it.
	ErrUnable = errors.New("parking: connection cannot be taken over")
	// ErrLost means that a connection broke while it was taken over.
	ErrLost = errors.New("parking: connection lost")
	// ErrSlow means that a client did not take its answer in time.
	ErrSlow = errors.New("parking: client does not take its answer")
	// ErrUnread means that clients leave so much unread already that this one's answer was not kept as well.
	ErrUnread = errors.New("parking: too many answers are unread")
	// ErrStopped means that the Lot was stopped before the client had taken its answer.
	ErrStopped = errors.New("parking: stopped")
)

// Guest is who waits on a connection. A Lot has one goroutine that calls these methods, so they must not block. Which of
// Expired, Gone and a Write comes first is the guest's to decide: all of them may happen at the same instant.
type Guest interface {
	// Expired is called when the time of the last Wait is over.
	Expired()
	// Gone is called when the client has closed the connection. The guest releases it, unless it has written.
	Gone()
	// Written is called once for each Write: with nil when the system has taken all of it, else with what went wrong. The guest
	// writes more, waits again, or releases the connection; after a fault it releases it. If the client takes everything at
	// once, Written is called before Write returns.
	Written(err error)
}

// Config is what can be set.
type Config struct {
	// IdleTimeout is how long an answered connection waits for the client's next request.
	IdleTimeout time.Duration
	// WriteTimeout is how long a client may take to read what is written at once.
	WriteTimeout time.Duration
	// MaxUnread bounds the bytes that were written and that clients have not taken yet, of all of them together.
	MaxUnread int64
}

type connKey struct{}

// mark is what the context of a connection's requests tells of it.
type mark struct {
	lot  *Lot
	conn net.Conn
}

// ConnContext is for http.Server: it lets Take find the connection of a request.
func (l *Lot) ConnContext(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, mark{l, c})
}
