package wire

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t *testing.T, h http.HandlerFunc) (*Server, *httptest.Server) {
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	s, err := Parse(server.URL + "/base/")
	require.NoError(t, err)
	return s, server
}

func TestARequestArrivesAsItWasMeant(t *testing.T) {
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, r.Method+" "+r.URL.String()+" "+r.Header.Get("Authorization")+" "+r.Header.Get("Content-Type")+" "+string(body))
	})
	require.True(t, s.Loopback())
	c := NewConn(s, "127.0.0.3")
	defer c.Close()
	a, err := c.Do(t.Context(), Request{Method: http.MethodPost, Path: "/x?y=1", Token: "secret", Body: []byte("{}"), Timeout: time.Minute})
	require.NoError(t, err)
	require.Equal(t, "POST /base/x?y=1 Bearer secret application/json {}", string(a.Body))
	require.Equal(t, http.StatusServiceUnavailable, a.Status)
	require.Equal(t, 7*time.Second, a.RetryAfter)
}

func TestAConnectionIsKeptAndALargeAnswerIsRead(t *testing.T) {
	long := strings.Repeat("x", 300_000)
	var from atomic.Pointer[string]
	s, server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		from.Store(&r.RemoteAddr)
		_, _ = io.WriteString(w, long) // chunked
	})
	c := NewConn(s, "")
	defer c.Close()
	do := func() string {
		a, err := c.Do(t.Context(), Request{Method: http.MethodGet, Path: "/", Timeout: time.Minute})
		require.NoError(t, err)
		require.Equal(t, long, string(a.Body))
		return *from.Load()
	}
	first := do()
	require.Equal(t, first, do())
	server.CloseClientConnections() // as a server does with an idle one
	require.NotEqual(t, first, do())
}

func TestAWaitingRequestEndsWhenItsConnectionIsBroken(t *testing.T) {
	waiting, quick := make(chan struct{}), atomic.Bool{}
	s, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !quick.Load() {
			waiting <- struct{}{}
			<-r.Context().Done()
		}
	})
	c := NewConn(s, "")
	defer c.Close()
	request := Request{Method: http.MethodGet, Path: "/", Timeout: time.Minute}
	go func() { <-waiting; c.Break() }()
	_, err := c.Do(t.Context(), request)
	require.ErrorIs(t, err, ErrBroken)
	_, err = c.Do(t.Context(), request)
	require.ErrorIs(t, err, ErrBroken, "not mended yet")
	c.Mend()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-waiting; cancel() }()
	_, err = c.Do(ctx, request)
	require.ErrorIs(t, err, context.Canceled)
	c.Mend()
	quick.Store(true)
	_, err = c.Do(t.Context(), request)
	require.NoError(t, err)
}

func TestWhatIsNoServerIsRefused(t *testing.T) {
	for _, bad := range []string{"", "localhost:80", "ftp://x", "http://", "http://a b"} {
		_, err := Parse(bad)
		require.Error(t, err, bad)
	}
	s, err := Parse("https://example.org")
	require.NoError(t, err)
	require.Equal(t, "example.org:443", s.address)
	require.False(t, s.Loopback())
	_, err = NewConn(s, "nonsense").Do(t.Context(), Request{Method: http.MethodGet, Path: "/", Timeout: time.Second})
	require.ErrorContains(t, err, "source address")
}
