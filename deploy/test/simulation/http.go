package simulation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

var (
	errReset   = errors.New("simulation: connection reset")
	errRefused = errors.New("simulation: connection refused")
	errGone    = errors.New("simulation: the client has gone")
)

// exchange is a request in progress. It is the http.ResponseWriter of the handler.
type exchange struct {
	header http.Header
	status int

	mu   sync.Mutex
	body bytes.Buffer
	gone bool
	// breaks: the connection breaks between the header and the body.
	breaks bool
	// news holds a token if something was written since the client last read.
	news chan struct{}
	done chan struct{}
}

// Header implements http.ResponseWriter.
func (x *exchange) Header() http.Header { return x.header }

// WriteHeader implements http.ResponseWriter.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
	}
}

// Write implements http.ResponseWriter. It fails if the client has gone.
func (x *exchange) Write(b []byte) (int, error) {
	x.WriteHeader(http.StatusOK)
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gone || x.breaks {
		return 0, errGone
	}
	x.body.Write(b)
	return len(b), nil
}

// FlushError is called by http.ResponseController.
func (x *exchange) FlushError() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.gone {
		return errGone
	}
	select {
	case x.news <- struct{}{}:
	default:
	}
	return nil
}

// SetWriteDeadline is called by http.ResponseController.
func (x *exchange) SetWriteDeadline(time.Time) error { return nil }

func (x *exchange) leave() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gone = true
}

// take returns what was written since its last call.
func (x *exchange) take() []byte {
	x.mu.Lock()
	defer x.mu.Unlock()
	b := bytes.Clone(x.body.Bytes())
	x.body.Reset()
	return b
}

// request is a client's request.
type request struct {
	method, url, token string
	body               []byte
	header             map[string]string
	// sure: the client receives everything written for it, as with a socket it mostly does. A session without a cursor can ask for no more.
	sure bool
	// breaks: the connection breaks when the header of the answer has arrived.
	breaks bool
}

// response is the answer.
type response struct {
	status int
	body   []byte
	close  bool
	node   *node
	// cookie is what the answer sets.
	cookie string
}

// send has a node answer a request. It returns when the answer is there, the process dies, or ctx ends.
func (w *world) send(ctx context.Context, d *rng, n *node, r request, stream func(chunk []byte) error) (response, error) { //nolint:gocyclo,funlen // one exchange from its beginning to its end
	if err := w.sleep(ctx, d.between(100*time.Microsecond, 4*time.Millisecond)); err != nil {
		return response{}, err
	}
	if !n.ready() {
		_ = w.sleep(ctx, d.between(time.Millisecond, 50*time.Millisecond))
		return response{}, errRefused
	}
	asked, cancel := context.WithCancel(context.Background())
	defer cancel()
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(asked, r.method, r.url, body)
	if err != nil {
		return response{}, err
	}
	req.Header.Set("Authorization", "Bearer "+r.token)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	x := &exchange{header: http.Header{}, news: make(chan struct{}, 1), done: make(chan struct{}), breaks: r.breaks}
	p := n.process
	n.handlers.Add(1)
	go func() {
		defer n.handlers.Done()
		defer close(x.done)
		n.engine.ServeHTTP(x, req)
	}()
	defer x.leave()
	written := func(otherwise error) (response, error) {
		if x.leave(); r.sure && x.status == http.StatusOK && x.body.Len() > 0 {
			return response{status: x.status, body: x.take(), node: n, cookie: x.header.Get("Set-Cookie")}, nil
		}
		return response{}, otherwise
	}
	for {
		over := false
		select {
		case <-x.done:
			over = true
		case <-x.news:
		case <-p.dead:
			return written(errReset)
		case <-ctx.Done():
			return written(ctx.Err())
		}
		for !r.sure && time.Now().Before(p.pausedUntil) { // a paused process does not send what it has written
			if err := w.sleep(ctx, time.Until(p.pausedUntil)); err != nil {
				return response{}, err
			}
		}
		if stream != nil {
			if chunk := x.take(); len(chunk) > 0 && (x.status == 0 || x.status == http.StatusOK) {
				if err := stream(chunk); err != nil {
					return response{}, err
				}
			} else if over {
				return response{status: x.status, body: chunk, node: n}, nil
			}
		}
		if over {
			break
		}
	}
	if r.breaks {
		return response{cookie: x.header.Get("Set-Cookie")}, errReset
	}
	if p.isDead() && d.hit(0.5) {
		return written(errReset) // it died with its answer in the socket
	}
	if err := w.sleep(ctx, d.between(100*time.Microsecond, 4*time.Millisecond)); err != nil {
		return written(err)
	}
	return response{status: x.status, body: x.take(), close: x.header.Get("Connection") == "close", node: n, cookie: x.header.Get("Set-Cookie")}, nil
}
