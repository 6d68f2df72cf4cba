// Package client is the Go SDK: it calls the HTTP API, encrypts and decrypts, and receives messages without gaps. It trusts the
// server with nothing but delivery.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/sealpost/sealpost/pkg/api"
)

const (
	// defaultPatience is how long requests are retried unless WithPatience says otherwise.
	defaultPatience = 30 * time.Second
	// maxRetryWait bounds how long a Retry-After can make a client wait.
	maxRetryWait = 5 * time.Minute
)

// ErrNoConnection means that the server could not be reached, or that its answer was incomplete.
var ErrNoConnection = errors.New("no connection to the server")

// Client calls a server. Errors that the server answers are *api.Error; when it cannot be reached they wrap ErrNoConnection; when
// something on the way to it answers instead, they are *PathError. If a call changes something and it is unknown whether it did, its
// error also wraps ErrOutcomeUnknown. All methods except SetToken may be called concurrently.
//
// A request may take as long as it needs while bytes come or go; it fails if none does for 30 seconds.
type Client struct {
	server string
	http   *http.Client
	token  string
	// proved means that the server has answered at this address.
	proved atomic.Bool
	// patience is how long a request that can safely be retried is retried.
	patience time.Duration
	// onRetry is called with each failure that is retried, and with nil when a retry has succeeded.
	onRetry func(error)
}

// Option configures a Client.
type Option func(*Client)

// WithHTTPClient makes requests with h, whose Timeout must allow for long polls and slow links. Its CheckRedirect is not used.
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
		server: strings.TrimRight(server, "/"), http: &http.Client{}, patience: defaultPatience, onRetry: func(error) {},
	}
	for _, o := range options {
		o(c)
	}
	own := *c.http
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.http = &own
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
	// take decodes the text of a successful answer. It fails if that is not one of the server's.
	take func(text []byte) error
	// silence is how long the server may keep silent before it answers, because it was asked to wait.
	silence time.Duration
	// most bounds the answer in bytes; 0 for maxAnswerBytes.
	most int64
	// measure, unless nil, is told how the answer came in.
	measure *transfer
}

// call performs r, retrying if that is safe and the failure may pass.
func (c *Client) call(ctx context.Context, r request) error {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 200*time.Millisecond, 15*time.Second
	began, last := time.Now(), error(nil)
	for {
		err := r.judge(c.once(ctx, r), last)
		if err == nil {
			if last != nil {
				c.onRetry(nil)
			}
			return nil
		}
		pause := max(pauses.NextBackOff(), retryAfter(err))
		late := time.Since(began)+pause > c.patience
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

// IsCode reports whether err is an answer of the server with that code.
func IsCode(err error, code api.Code) bool {
	var answered *api.Error
	return errors.As(err, &answered) && answered.Code == code
}
