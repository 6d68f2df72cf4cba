package networks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// Behaviour is what an HTTP proxy of the lab's own does between a client and the next hop.
type Behaviour func(next http.Handler) http.Handler

// When makes a proxy behave so while a switch is on, and else pass everything on.
func When(on *atomic.Bool, b Behaviour) Behaviour {
	return func(next http.Handler) http.Handler {
		spoilt := b(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if on.Load() {
				spoilt.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// startProxy runs a proxy with a behaviour before an upstream, "host:port", and returns its port.
func startProxy(ctx context.Context, host, upstream string, b Behaviour) (port int, end func() error, err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, nil, err
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 100, IdleConnTimeout: 60 * time.Second, DisableCompression: true}
	quiet := log.New(io.Discard, "", 0) // clients that go away are no news here
	pass := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: upstream}) },
		Transport: transport, FlushInterval: -1, ErrorLog: quiet,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, _ error) {
			if r.Context().Err() != nil {
				page(w, http.StatusGatewayTimeout)
				return
			}
			page(w, http.StatusBadGateway)
		},
	}
	server := &http.Server{
		Handler: b(pass), ReadHeaderTimeout: 10 * time.Second, ErrorLog: quiet,
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, upstreamKey{}, upstream)
		},
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	return listener.Addr().(*net.TCPAddr).Port, func() error {
		err := server.Close()
		transport.CloseIdleConnections()
		serving.Wait()
		return err
	}, nil
}

// upstreamKey is where a request's context has the upstream's host:port.
type upstreamKey struct{}

// page answers as proxies do: for people.
func page(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<!doctype html><html><head><title>%d</title></head><body><h1>%s</h1><hr>a proxy</body></html>\n", status, http.StatusText(status))
}

// AnswersHTML answers one request of every so many itself: with an error, or with 200, as the page of a hotel to which a guest has to log in.
func AnswersHTML(every int64, status int) Behaviour {
	return func(next http.Handler) http.Handler {
		var n atomic.Int64
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1)%every == 0 {
				page(w, status)
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// maxRepeated bounds the bodies of requests that are repeated.
const maxRepeated = 8 << 20

// Repeats sends one request of every so many twice, and drops what the first brings, as a proxy does whose connection broke before it had
// the answer. The first is carried out, whatever it is.
func Repeats(every int64) Behaviour {
	return func(next http.Handler) http.Handler {
		var n atomic.Int64
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(io.LimitReader(r.Body, maxRepeated))
			if err != nil {
				page(w, http.StatusBadRequest)
				return
			}
			if n.Add(1)%every == 0 {
				drop(next, r, body)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			next.ServeHTTP(w, r)
		})
	}
}

// brokenAfter is when a connection breaks on which nothing has come yet.
const brokenAfter = time.Second

// drop sends a request and takes the beginning of its answer, which nobody gets.
func drop(next http.Handler, r *http.Request, body []byte) {
	ctx, cancel := context.WithTimeout(r.Context(), brokenAfter)
	defer cancel()
	first := r.Clone(ctx)
	first.Body = io.NopCloser(bytes.NewReader(body))
	defer func() { _ = recover() }() // an answer that breaks off, as its reader wants it
	next.ServeHTTP(&dropped{header: http.Header{}, enough: cancel}, first)
}

// dropped takes an answer up to its first bytes.
type dropped struct {
	header http.Header
	enough func()
}

func (d *dropped) Header() http.Header { return d.header }
func (d *dropped) WriteHeader(int)     {}
func (d *dropped) Write(b []byte) (int, error) {
	d.enough()
	return len(b), nil
}

// errCut is why a request is cut off.
var errCut = errors.New("cut")

// Cuts ends every request after so long: with an error page, or, if the answer has begun, in the middle of it.
func Cuts(after time.Duration) Behaviour {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeoutCause(r.Context(), after, errCut)
			defer cancel()
			c := &cut{ResponseWriter: w, ctx: ctx}
			defer func() {
				broken := recover()
				if broken != nil || (c.begun && ctx.Err() != nil) {
					panic(http.ErrAbortHandler)
				}
			}()
			next.ServeHTTP(c, r.WithContext(ctx))
		})
	}
}

// cut knows whether an answer has begun in time.
type cut struct {
	http.ResponseWriter
	ctx   context.Context
	begun bool
}

func (c *cut) WriteHeader(status int) {
	c.begun = c.ctx.Err() == nil // else it is the error page
	c.ResponseWriter.WriteHeader(status)
}

func (c *cut) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Buffers passes an answer on when it has all of it. One that does not end, it passes on as far as it has come after a time, and cuts it off:
// no proxy waits for ever.
func Buffers(patience time.Duration) Behaviour {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeoutCause(r.Context(), patience, errCut)
			defer cancel()
			b := &buffered{header: http.Header{}, status: http.StatusBadGateway}
			whole := b.fill(next, r.WithContext(ctx))
			for name, values := range b.header {
				w.Header()[name] = values
			}
			w.WriteHeader(b.status)
			_, _ = w.Write(b.body.Bytes())
			if !whole {
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			}
		})
	}
}

// buffered keeps an answer.
type buffered struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// fill reports whether the answer came to its end.
func (b *buffered) fill(next http.Handler, r *http.Request) (whole bool) {
	defer func() { whole = recover() == nil && r.Context().Err() == nil }()
	next.ServeHTTP(b, r)
	return true
}

func (b *buffered) Header() http.Header            { return b.header }
func (b *buffered) WriteHeader(status int)         { b.status = status }
func (b *buffered) Write(part []byte) (int, error) { return b.body.Write(part) }

// SpeaksHTTP10 passes requests on as HTTP/1.0, each on a connection of its own, and passes the answers back as they come: without chunks,
// ended by the end of the connection.
func SpeaksHTTP10() Behaviour {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			upstream, _ := r.Context().Value(upstreamKey{}).(string)
			server, err := new(net.Dialer).DialContext(r.Context(), "tcp", upstream)
			if err != nil {
				page(w, http.StatusBadGateway)
				return
			}
			defer func() { _ = server.Close() }()
			body, err := io.ReadAll(io.LimitReader(r.Body, maxRepeated))
			if err != nil {
				page(w, http.StatusBadRequest)
				return
			}
			if err := writeHTTP10(server, r, body); err != nil {
				page(w, http.StatusBadGateway)
				return
			}
			client, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				page(w, http.StatusInternalServerError)
				return
			}
			defer func() { _ = client.Close() }()
			gone := make(chan struct{})
			go func() { // a client that goes away ends the request
				defer close(gone)
				_, _ = io.Copy(io.Discard, client)
				_ = server.Close()
			}()
			_, _ = io.Copy(client, server)
			_ = client.Close()
			<-gone
		})
	}
}

func writeHTTP10(server io.Writer, r *http.Request, body []byte) error {
	var b bytes.Buffer
	_, _ = fmt.Fprintf(&b, "%s %s HTTP/1.0\r\nHost: %s\r\n", r.Method, r.URL.RequestURI(), r.Host)
	header := r.Header.Clone()
	for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade", "Te"} {
		header.Del(name)
	}
	if len(body) > 0 {
		header.Set("Content-Length", fmt.Sprint(len(body)))
	}
	_ = header.Write(&b)
	b.WriteString("\r\n")
	b.Write(body)
	_, err := server.Write(b.Bytes())
	return err
}
