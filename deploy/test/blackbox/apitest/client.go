package apitest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

// deployment is a running target.
type deployment struct {
	Target
	*suite
	http *http.Client
}

func (s *suite) open(t *testing.T, target Target) *deployment {
	t.Helper()
	client := &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 100},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		// Longer than the longest poll.
		Timeout: 70 * time.Second,
	}
	t.Cleanup(client.CloseIdleConnections)
	return &deployment{Target: target, suite: s, http: client}
}

// call is a request. Unset fields mean what a well-behaved client sends.
type call struct {
	// method defaults to GET without a body and POST with one.
	method string
	// path is escaped and may have a query.
	path  string
	token string
	// json is encoded and sent; body, if set, is sent instead, byte for byte.
	json any
	body []byte
	// header replaces headers; an empty value omits one.
	header map[string]string
	// chunked sends the body without its length.
	chunked bool
	// mayFail allows a 5xx answer.
	mayFail bool
}

// answer is the response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do makes a request and checks the answer against the contract. It may be called from any goroutine.
func (d *deployment) do(ctx context.Context, c call) (answer, error) {
	req, body, err := d.request(ctx, c)
	if err != nil {
		return answer{}, err
	}
	res, err := d.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	text, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, header: res.Header, body: text}
	return a, d.judge(c, req, body, a)
}

func (d *deployment) judge(c call, req *http.Request, body []byte, a answer) error {
	if a.status >= http.StatusInternalServerError && !c.mayFail {
		return fmt.Errorf("%s %s is answered %d: %s", req.Method, req.URL, a.status, a.body)
	}
	err := d.contract.check(exchange{
		method: req.Method, path: req.URL.Path, request: body, status: a.status, header: a.header, body: a.body,
	})
	if err != nil {
		return fmt.Errorf("the answer breaks the contract: %w\n%s", err, short(a.body))
	}
	return nil
}

func (d *deployment) request(ctx context.Context, c call) (*http.Request, []byte, error) {
	body := c.body
	if body == nil && c.json != nil {
		var err error
		if body, err = json.Marshal(c.json); err != nil {
			return nil, nil, err
		}
	}
	method := c.method
	switch {
	case method != "":
	case body != nil:
		method = http.MethodPost
	default:
		method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, method, d.BaseURL+c.path, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.chunked {
		req.ContentLength, req.GetBody = -1, nil
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for name, value := range c.header {
		req.Header.Set(name, value)
		if value == "" {
			req.Header.Del(name)
		}
	}
	return req, body, nil
}

// must makes a request that must be answered, with whatever status.
func (d *deployment) must(t *testing.T, c call) answer {
	t.Helper()
	a, err := d.do(t.Context(), c)
	require.NoError(t, err)
	return a
}

// decode reads the body of an answer with the given status. The body must not have fields that T lacks.
func decode[T any](a answer, status int) (T, error) {
	var v T
	if a.status != status {
		return v, fmt.Errorf("status %d, want %d: %s", a.status, status, short(a.body))
	}
	decoder := json.NewDecoder(bytes.NewReader(a.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&v); err != nil {
		return v, fmt.Errorf("%w: %s", err, short(a.body))
	}
	return v, nil
}

// into is decode for the goroutine of a test.
func into[T any](t *testing.T, a answer, status int) T {
	t.Helper()
	v, err := decode[T](a, status)
	require.NoError(t, err)
	return v
}

// refused requires an error answer and returns it.
func (a answer) refused(t *testing.T, status int, code api.Code) api.Error {
	t.Helper()
	fault := into[api.Error](t, a, status)
	require.Equal(t, code, fault.Code, "%s", short(a.body))
	return fault
}

// refusedField requires a 400 that names a field.
func (a answer) refusedField(t *testing.T, code api.Code, field string) {
	t.Helper()
	fault := a.refused(t, http.StatusBadRequest, code)
	require.Equal(t, field, fault.Field, "%s", short(a.body))
}

// short truncates a large body for a test's log.
func short(body []byte) string {
	const most = 2000
	if len(body) <= most {
		return string(body)
	}
	return strings.ToValidUTF8(string(body[:most]), "") + "…"
}

// eventually polls a condition until it holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	require.Eventually(t, holds, 20*time.Second, 20*time.Millisecond, what)
}
