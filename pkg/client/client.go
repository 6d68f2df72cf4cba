// Package client is the Go SDK: it calls the HTTP API, encrypts and decrypts, and receives messages without gaps. It trusts the
// server with nothing but delivery.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sealpost/sealpost/pkg/api"
)

const (
	// requestTimeout bounds a request that is not meant to wait.
	requestTimeout = 30 * time.Second
	// maxAnswerBytes bounds how much of an answer is read: a page of a hundred large messages still fits.
	maxAnswerBytes = 1 << 30
	// maxErrorBytes bounds how much of an error answer is read.
	maxErrorBytes = 64 << 10
	// maxRetryWait bounds how long a Retry-After can make a client wait.
	maxRetryWait = 5 * time.Minute
)

// ErrNoConnection means that the server could not be reached, or that its answer was incomplete.
var ErrNoConnection = errors.New("no connection to the server")

// Client calls a server. Errors that the server answers are *api.Error; when it cannot be reached they wrap ErrNoConnection. If a
// call changes something and it is unknown whether it did, its error also wraps ErrOutcomeUnknown. All methods except SetToken may
// be called concurrently.
type Client struct {
	server string
	http   *http.Client
	token  string
	// patience is how long a request that can safely be retried is retried.
	patience time.Duration
	// onRetry is called with each failure that is retried, and with nil when a retry has succeeded.
	onRetry func(error)
}

// Option configures a Client.
type Option func(*Client)

// WithHTTPClient makes requests with h, whose Timeout must allow for long polls.
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithToken uses the token of an earlier session.
func WithToken(token string) Option { return func(c *Client) { c.token = token } }

// WithPatience sets how long requests that can safely be retried are retried; 30 s by default, 0 for not at all.
func WithPatience(d time.Duration) Option { return func(c *Client) { c.patience = d } }

// WithRetryHook calls f with each failure that is about to be retried, and with nil when a retry has succeeded.
func WithRetryHook(f func(error)) Option { return func(c *Client) { c.onRetry = f } }

// New makes a client of the server at a URL such as http://localhost:3001.
func New(server string, options ...Option) (*Client, error) {
	u, err := url.Parse(server)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%q is not the address of a server, such as http://localhost:3001", server)
	}
	c := &Client{
		server: strings.TrimRight(server, "/"), http: &http.Client{}, patience: requestTimeout, onRetry: func(error) {},
	}
	for _, o := range options {
		o(c)
	}
	return c, nil
}

// Server is the address the client calls.
func (c *Client) Server() string { return c.server }

// SetToken uses another token from now on.
func (c *Client) SetToken(token string) { c.token = token }

// request is one call of the API.
type request struct {
	method, path string
	query        url.Values
	body         []byte
	// repeatable means that doing it twice has the same effect as doing it once.
	repeatable bool
	// mutating means that it changes something, and that the caller must know whether it did.
	mutating bool
	// whole reports whether the decoded answer is one of the server's. Nil accepts anything.
	whole func() bool
	// patience overrides the client's; negative means forever.
	patience time.Duration
	timeout  time.Duration
}

// call performs r, retrying if that is safe and the failure may pass, and decodes the answer into out.
func (c *Client) call(ctx context.Context, r request, out any) error {
	if r.patience == 0 {
		r.patience = c.patience
	}
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 200*time.Millisecond, 15*time.Second
	began, last := time.Now(), error(nil)
	for {
		err := r.judge(c.once(ctx, r, out), last)
		if err == nil {
			if last != nil {
				c.onRetry(nil)
			}
			return nil
		}
		pause := max(pauses.NextBackOff(), retryAfter(err))
		late := r.patience >= 0 && time.Since(began)+pause > r.patience
		if !r.repeatable || !mayPass(err) || late || ctx.Err() != nil {
			return err
		}
		last = err
		c.onRetry(err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			if errors.Is(last, ErrOutcomeUnknown) {
				return fmt.Errorf("%w: %w", ErrOutcomeUnknown, ctx.Err())
			}
			return ctx.Err()
		}
	}
}

// judge marks a failure that leaves the outcome unknown. If an earlier attempt did, a later refusal does too: it says nothing about
// that attempt.
func (r request) judge(err, earlier error) error {
	if err == nil || !r.mutating || (refused(err) && !errors.Is(earlier, ErrOutcomeUnknown)) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// mayPass reports whether the same request may succeed later.
func mayPass(err error) bool {
	var answered *api.Error
	if !errors.As(err, &answered) {
		return errors.Is(err, ErrNoConnection)
	}
	switch answered.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	// Other statuses from 500 on come from an intermediary, unless they have a code.
	return answered.Status >= http.StatusInternalServerError && answered.Code == ""
}

func retryAfter(err error) time.Duration {
	var answered *api.Error
	if errors.As(err, &answered) {
		return min(answered.RetryAfter, maxRetryWait)
	}
	return 0
}

func (c *Client) once(ctx context.Context, r request, out any) error {
	timeout := r.timeout
	if timeout == 0 {
		timeout = requestTimeout
	}
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	res, err := c.do(bounded, r)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", ErrNoConnection, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode >= http.StatusBadRequest {
		return readError(res)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes))
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNoConnection, err)
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("the answer to %s %s makes no sense: %w", r.method, r.path, err)
	}
	if r.whole != nil && !r.whole() {
		return fmt.Errorf("the answer to %s %s is not one of the server's", r.method, r.path)
	}
	return nil
}

func (c *Client) do(ctx context.Context, r request) (*http.Response, error) {
	address := c.server + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return c.http.Do(req)
}

func readError(res *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxErrorBytes)) // as much as can be read
	e := api.ParseError(res.StatusCode, text)
	if seconds, err := strconv.ParseInt(res.Header.Get("Retry-After"), 10, 32); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// IsCode reports whether err is an answer of the server with that code.
func IsCode(err error, code api.Code) bool {
	var answered *api.Error
	return errors.As(err, &answered) && answered.Code == code
}
