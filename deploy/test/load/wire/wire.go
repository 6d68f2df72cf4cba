// Package wire is an HTTP/1.1 client for load: one connection, one request at a time, few allocations, and no pool or queue between the
// caller and the socket that could hide a delay.
package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// readBuffer fits an answer's header; bodies are read past it.
	readBuffer = 2048
	// maxAnswer bounds an answer: the largest is a page of a thousand messages.
	maxAnswer = 256 << 20
)

// Server is the destination of requests.
type Server struct {
	url, address, host, prefix string
	tls                        bool
}

// Parse parses a server's URL.
func Parse(text string) (*Server, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return nil, fmt.Errorf("%q is no http or https URL", text)
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return &Server{
		url: text, address: net.JoinHostPort(u.Hostname(), port), host: u.Host, prefix: strings.TrimSuffix(u.Path, "/"), tls: u.Scheme == "https",
	}, nil
}

// String is the URL.
func (s *Server) String() string { return s.url }

// Loopback reports whether the server's address is on this machine: then any 127.0.0.x is a valid source address.
func (s *Server) Loopback() bool {
	host, _, _ := net.SplitHostPort(s.address)
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() && ip.Is4()
}

func (s *Server) dial(ctx context.Context, source string, timeout time.Duration) (net.Conn, error) {
	d := &net.Dialer{Timeout: timeout}
	network := "tcp"
	if source != "" {
		ip := net.ParseIP(source)
		if ip == nil {
			return nil, fmt.Errorf("%q is no source address", source)
		}
		d.LocalAddr, network = &net.TCPAddr{IP: ip}, "tcp4"
	}
	if s.tls {
		return (&tls.Dialer{NetDialer: d, Config: &tls.Config{MinVersion: tls.VersionTLS12}}).DialContext(ctx, network, s.address)
	}
	return d.DialContext(ctx, network, s.address)
}

// Request is one request.
type Request struct {
	Method, Path, Token string
	// Body is JSON, or nil.
	Body []byte
	// Timeout bounds the whole exchange, including dialling.
	Timeout time.Duration
}

// Answer is the response. Body is valid until the next Do.
type Answer struct {
	Status int
	Body   []byte
	// RetryAfter is the wait that the server asked for; 0 if none.
	RetryAfter time.Duration
}

// ErrBroken means that Break closed the connection.
var ErrBroken = errors.New("the connection was dropped on purpose")

// Conn is a connection that opens on demand, and again after it was closed. Do is for one goroutine.
type Conn struct {
	server *Server
	source string

	reader *bufio.Reader
	in     bytes.Buffer
	out    []byte

	mu     sync.Mutex
	conn   net.Conn
	broken bool
}

// NewConn makes a connection to a server from a source address; empty for any.
func NewConn(s *Server, source string) *Conn {
	return &Conn{server: s, source: source, reader: bufio.NewReaderSize(nil, readBuffer)}
}

// Do makes a request. If it fails on a reused connection, which the server may have closed, Do repeats it once on a new one: requests that
// must not happen twice need an idempotency key. Do ends when ctx ends.
func (c *Conn) Do(ctx context.Context, r Request) (Answer, error) {
	stop := context.AfterFunc(ctx, c.Break)
	defer stop()
	deadline := time.Now().Add(r.Timeout)
	c.build(r)
	for {
		reused, err := c.open(ctx, deadline)
		if err != nil {
			return Answer{}, c.why(ctx, err)
		}
		a, err := c.exchange(deadline)
		if err == nil {
			return a, nil
		}
		c.drop()
		var late net.Error
		if !reused || c.isBroken() || (errors.As(err, &late) && late.Timeout()) {
			return Answer{}, c.why(ctx, err)
		}
	}
}

// build writes the request into the buffer.
func (c *Conn) build(r Request) {
	b := c.out[:0]
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, c.server.prefix...)
	b = append(b, r.Path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, c.server.host...)
	if r.Token != "" {
		b = append(b, "\r\nAuthorization: Bearer "...)
		b = append(b, r.Token...)
	}
	if r.Body != nil {
		b = append(b, "\r\nContent-Type: application/json\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(len(r.Body)), 10)
	}
	b = append(b, "\r\n\r\n"...)
	b = append(b, r.Body...)
	c.out = b
}

// open makes sure that a connection is open, and returns whether it has been used before.
func (c *Conn) open(ctx context.Context, deadline time.Time) (reused bool, err error) {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn != nil {
		return true, conn.SetDeadline(deadline)
	}
	if conn, err = c.server.dial(ctx, c.source, time.Until(deadline)); err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken || ctx.Err() != nil {
		return false, errors.Join(ErrBroken, conn.Close())
	}
	c.conn = conn
	c.reader.Reset(conn)
	return false, conn.SetDeadline(deadline)
}

func (c *Conn) exchange(deadline time.Time) (Answer, error) {
	if _, err := c.write(deadline); err != nil {
		return Answer{}, err
	}
	res, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	return c.whole(res)
}

// write sends the request in the buffer.
func (c *Conn) write(deadline time.Time) (net.Conn, error) {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn == nil {
		return nil, ErrBroken
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	_, err := conn.Write(c.out)
	return conn, err
}

// whole reads an answer to its end.
func (c *Conn) whole(res *http.Response) (Answer, error) {
	c.in.Reset()
	n, err := c.in.ReadFrom(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil && n > maxAnswer {
		err = errors.New("the answer is too large")
	}
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Status: res.StatusCode, Body: c.in.Bytes()}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds >= 0 {
		a.RetryAfter = time.Duration(seconds) * time.Second
	}
	if res.Close {
		c.drop()
	}
	return a, nil
}

// Break closes the connection, and a waiting request fails with ErrBroken. Call Mend before the next request.
func (c *Conn) Break() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = true
	if c.conn != nil {
		_ = c.conn.Close()
	}
}

// Mend allows requests again after Break.
func (c *Conn) Mend() {
	c.drop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = false
}

// Close closes the connection. The next request opens it again.
func (c *Conn) Close() { c.drop() }

func (c *Conn) drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

func (c *Conn) isBroken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

func (c *Conn) why(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case c.isBroken():
		return ErrBroken
	}
	return err
}
