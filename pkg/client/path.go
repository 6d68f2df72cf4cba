package client

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
)

// requestIDHeader is on every answer of the server, unless something on the way takes it off.
const requestIDHeader = "X-Request-ID"

// PathError is an answer that is not the server's: something on the way to it gave it, such as a proxy, or a page to log in to a
// network. It says nothing about the request, which the server may have carried out. It may pass, except for a redirect: an address
// that redirects is a wrong one, unless the server has answered there before.
type PathError struct {
	// Status is the HTTP status, which may be one of success.
	Status int
	// ContentType is the media type of the answer, empty if it has none.
	ContentType string
	// Location is where the answer redirects to, nil if it does not. It is not followed: that would turn a POST into a GET, and give
	// the token to whoever is named there.
	Location *url.URL
	// Server is the address at which Location says that the server is. It is empty if Location is of something else.
	Server string
	// RetryAfter is when to try again, 0 if the answer does not say so.
	RetryAfter time.Duration

	passes bool
	cause  error
}

// Error implements error.
func (e *PathError) Error() string {
	const what = "something between here and the server"
	switch {
	case e.Server != "":
		return "the server's address seems to be " + e.Server
	case e.Location != nil:
		return fmt.Sprintf("%s redirects to %s://%s (status %d)", what, e.Location.Scheme, e.Location.Host, e.Status)
	case e.cause != nil:
		kind := e.ContentType
		if kind == "" {
			kind = "of no type"
		}
		return fmt.Sprintf("%s answered with status %d and a text that is not the server's (%s)", what, e.Status, kind)
	}
	return fmt.Sprintf("%s answered with status %d", what, e.Status)
}

// Unwrap returns what is wrong with an answer whose status is one of success.
func (e *PathError) Unwrap() error { return e.cause }

// broken describes an answer that is not the server's. cause says why, if the status does not.
func (c *Client) broken(res *http.Response, r request, cause error) *PathError {
	e := &PathError{Status: res.StatusCode, RetryAfter: retryAfterOf(res), passes: true, cause: cause}
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err == nil {
		e.ContentType = kind
	}
	if to, err := res.Location(); err == nil && res.StatusCode/100 == 3 {
		e.Location, e.Server, e.passes = to, c.serverAt(to, r.path), c.proved.Load()
	}
	return e
}

// serverAt returns the address of a server whose route at path is to; empty if to is no such route, or one of this server.
func (c *Client) serverAt(to *url.URL, path string) string {
	prefix, found := strings.CutSuffix(to.EscapedPath(), path)
	server := (&url.URL{Scheme: to.Scheme, Host: to.Host}).String() + prefix
	if !found || to.Host == "" || (to.Scheme != "http" && to.Scheme != "https") || server == c.server {
		return ""
	}
	return server
}

// readError tells an error that the server answers from one of something on the way. The server's has a code, and an id of the
// request, in its text or in the header.
func (c *Client) readError(res *http.Response, r request, body io.Reader) error {
	text, _ := io.ReadAll(io.LimitReader(body, maxErrorBytes)) // as much as can be read
	e := api.ParseError(res.StatusCode, text)
	if e.Code == "" || (e.RequestID == "" && res.Header.Get(requestIDHeader) == "") {
		return c.broken(res, r, nil)
	}
	c.proved.Store(true)
	e.RetryAfter = retryAfterOf(res)
	return e
}

func retryAfterOf(res *http.Response) time.Duration {
	seconds, err := strconv.ParseInt(res.Header.Get("Retry-After"), 10, 32)
	if err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// mayPass reports whether the same request may succeed later.
func mayPass(err error) bool {
	var broken *PathError
	if errors.As(err, &broken) {
		return broken.passes
	}
	var answered *api.Error
	if errors.As(err, &answered) {
		return answered.Status >= http.StatusInternalServerError || answered.Status == http.StatusTooManyRequests ||
			answered.Status == http.StatusRequestTimeout
	}
	return errors.Is(err, ErrNoConnection)
}

// retryAfter is how long an answer asks to wait.
func retryAfter(err error) time.Duration {
	var broken *PathError
	var answered *api.Error
	switch {
	case errors.As(err, &broken):
		return min(broken.RetryAfter, maxRetryWait)
	case errors.As(err, &answered):
		return min(answered.RetryAfter, maxRetryWait)
	}
	return 0
}
