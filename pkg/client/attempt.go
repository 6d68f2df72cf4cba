package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
	"time"
)

const (
	// quiet is how long a request may go on without a byte either way.
	quiet = 30 * time.Second
	// slowestLink is the speed, in bytes a second, that is allowed for: what was handed to the kernel may wait in buffers for so long.
	slowestLink = 8 << 10
	// step is how many bytes of an answer are waited for at a time.
	step = 4 << 10
	// maxAnswerBytes bounds how much of an answer is read, unless its request says otherwise: see request.most.
	maxAnswerBytes = 1 << 20
	// maxErrorBytes bounds how much of an error answer is read.
	maxErrorBytes = 64 << 10
)

// errStalled is why a request without progress ends.
var errStalled = errors.New("nothing came or went for too long")

// once makes one attempt at r.
func (c *Client) once(ctx context.Context, r request) error {
	bounded, p := watch(ctx, r.silence)
	defer p.stop()
	res, err := c.do(bounded, r, p)
	if err != nil {
		return p.fault(ctx, err)
	}
	defer func() { _ = res.Body.Close() }()
	body := &download{body: res.Body, p: p}
	switch {
	case res.StatusCode >= http.StatusBadRequest:
		if err = c.readError(res, r, body); ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	case res.StatusCode/100 != 2:
		return c.broken(res, r, nil)
	}
	most := cmp.Or(r.most, maxAnswerBytes)
	text, err := io.ReadAll(io.LimitReader(body, most+1))
	if r.measure != nil {
		*r.measure = body.measure()
	}
	if err != nil {
		return p.fault(ctx, err)
	}
	if int64(len(text)) > most {
		return c.broken(res, r, fmt.Errorf("the answer to %s %s is longer than %d bytes", r.method, r.path, most))
	}
	if err := r.take(text); err != nil {
		return c.broken(res, r, fmt.Errorf("the answer to %s %s makes no sense: %w", r.method, r.path, err))
	}
	c.proved.Store(true)
	return nil
}

func (c *Client) do(ctx context.Context, r request, p *progress) (*http.Response, error) {
	address := c.server + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, p.trace()), r.method, address, http.NoBody)
	if err != nil {
		return nil, err
	}
	if r.body != nil {
		// GetBody lets the transport use another connection if the server has closed the one that was kept.
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(&upload{text: bytes.NewReader(r.body), p: p}), nil }
		req.Body, _ = req.GetBody()
		req.ContentLength = int64(len(r.body))
		req.Header.Set("Content-Type", "application/json")
	}
	// Nothing is unpacked: a small answer could become a large one.
	req.Header.Set("Accept-Encoding", "identity")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return c.http.Do(req)
}

// progress ends a request that makes none.
type progress struct {
	cancel context.CancelCauseFunc
	timer  *time.Timer
	// earliest is when the request can end at the earliest.
	earliest time.Time
	stalled  atomic.Bool
	// connected means that there was a connection, so that something may have been sent.
	connected atomic.Bool
}

// watch makes the context of a request that ends it if it makes no progress. The server may keep silent for a while before it answers.
func watch(ctx context.Context, silence time.Duration) (context.Context, *progress) {
	p := &progress{earliest: time.Now().Add(silence + quiet)}
	ctx, p.cancel = context.WithCancelCause(ctx)
	p.timer = time.AfterFunc(silence+quiet, func() {
		p.stalled.Store(true)
		p.cancel(errStalled)
	})
	return ctx, p
}

// moved notes a progress, after which there may be none for some time.
func (p *progress) moved(quiet time.Duration) { p.timer.Reset(max(quiet, time.Until(p.earliest))) }

func (p *progress) stop() {
	p.timer.Stop()
	p.cancel(nil)
}

// trace notes the progress that is neither of the request's body nor of the answer's.
func (p *progress) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		ConnectDone: func(_, _ string, err error) {
			if err == nil {
				p.moved(quiet)
			}
		},
		GotConn: func(httptrace.GotConnInfo) {
			p.connected.Store(true)
			p.moved(quiet)
		},
		GotFirstResponseByte: func() { p.moved(quiet) },
	}
}

// fault is the error of a request that had no answer, or half of one.
func (p *progress) fault(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case p.stalled.Load() && !p.connected.Load():
		err = &net.OpError{Op: "dial", Net: "tcp", Err: errStalled} // never sent: see refused
	case p.stalled.Load():
		err = errStalled // and not that a context was cancelled, which a caller would take for its own
	}
	return fmt.Errorf("%w: %w", ErrNoConnection, err)
}

// upload is the body of a request. What was read of it may wait in the kernel's buffers, and in those of proxies, so it earns time.
type upload struct {
	text *bytes.Reader
	p    *progress
}

// Read implements io.Reader.
func (u *upload) Read(b []byte) (int, error) {
	n, err := u.text.Read(b)
	handed := u.text.Size() - int64(u.text.Len())
	u.p.moved(quiet + time.Duration(handed)*time.Second/slowestLink)
	return n, err
}

// download is the body of an answer.
type download struct {
	body  io.Reader
	p     *progress
	bytes int64
	first time.Time
}

// Read implements io.Reader.
func (d *download) Read(b []byte) (int, error) {
	n, err := d.body.Read(b[:min(len(b), step)]) // net/http fills what it is given before it returns, however long that takes
	if n > 0 {
		if d.bytes == 0 {
			d.first = time.Now()
		}
		d.bytes += int64(n)
		d.p.moved(quiet)
	}
	return n, err
}

// transfer is how the body of an answer came in.
type transfer struct {
	// begun means that the answer had begun, if with nothing of its body.
	begun bool
	bytes int64
	took  time.Duration
}

func (d *download) measure() transfer {
	t := transfer{begun: true, bytes: d.bytes}
	if d.bytes > 0 {
		t.took = time.Since(d.first)
	}
	return t
}
