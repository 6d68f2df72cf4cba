package httpserver_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/logging"
	"github.com/sealpost/sealpost/pkg/metrics"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a server with a few routes, and its log.
type rig struct {
	t      *testing.T
	server *httpserver.Server
	logs   bytes.Buffer
}

var errDomain = errors.New("the domain's own error")

func newRig(t *testing.T, cfg httpserver.Config, routes func(r gin.IRouter)) *rig {
	r := &rig{t: t}
	log, err := logging.New(&r.logs, "info", "test")
	require.NoError(t, err)
	cfg.AdminAddress, cfg.IdleTimeout, cfg.MaxHeaderBytes = "127.0.0.1:0", time.Minute, 16384
	r.server, err = httpserver.New(t.Context(), cfg, httpserver.Options{Address: "127.0.0.1:0", Log: log, Registry: metrics.NewRegistry()})
	require.NoError(t, err)
	if routes != nil {
		routes(r.server.Routes())
	}
	served := make(chan error, 1)
	go func() { served <- r.server.Serve() }()
	t.Cleanup(func() {
		require.NoError(t, r.server.Shutdown(context.Background()))
		require.NoError(t, <-served)
		http.DefaultClient.CloseIdleConnections()
	})
	return r
}

func (r *rig) do(req *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.server.Handler().ServeHTTP(w, req)
	return w
}

func (r *rig) get(path string) *httptest.ResponseRecorder {
	return r.do(httptest.NewRequest(http.MethodGet, path, nil))
}

func (r *rig) post(path, contentType, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	return r.do(req)
}

func TestAnErrorIsAnsweredByTheTable(t *testing.T) {
	table := httpserver.ErrorTable{
		{Err: errDomain, Answer: httpserver.Always(http.StatusConflict, api.CodeUsernameTaken, "taken")},
		{Err: io.ErrUnexpectedEOF, Answer: httpserver.UnavailableAnswer("the store")},
	}
	cause := map[string]error{
		"known": fmt.Errorf("wrapped: %w", errDomain), "away": io.ErrUnexpectedEOF, "ready": fmt.Errorf("x: %w", api.MissingField("name")),
		"unknown": errors.New("secret detail"), "late": context.DeadlineExceeded,
	}
	r := newRig(t, httpserver.Config{}, func(r gin.IRouter) {
		r.GET("/fail/:how", table.Handle(func(c *gin.Context) error { return cause[c.Param("how")] }))
		r.GET("/panic", func(*gin.Context) { panic("secret detail") })
	})
	for how, want := range map[string]api.Error{
		"known": {Status: 409, Code: api.CodeUsernameTaken}, "away": {Status: 503, Code: api.CodeUnavailable},
		"ready": {Status: 400, Code: api.CodeMissingField}, "unknown": {Status: 500, Code: api.CodeInternal}, "late": {Status: 503, Code: api.CodeUnavailable},
	} {
		w := r.get("/fail/" + how)
		e := fault(t, w)
		require.Equal(t, want.Status, e.Status, how)
		require.Equal(t, want.Code, e.Code, how)
		require.Equal(t, want.Status == 503, w.Header().Get("Retry-After") != "", how)
		require.NotContains(t, w.Body.String(), "secret")
	}
	e := fault(t, r.get("/panic"))
	require.Equal(t, 500, e.Status)
	require.Contains(t, r.logs.String(), e.RequestID)
	require.Contains(t, r.logs.String(), "secret detail", "the log knows what the client is not told")
}

func TestPathsAndMethodsThatAreNotServedAreJSONErrors(t *testing.T) {
	r := newRig(t, httpserver.Config{}, decoding)
	require.Equal(t, api.CodeNotFound, fault(t, r.get("/nowhere")).Code)
	w := r.get("/decode")
	require.Equal(t, api.CodeMethodNotAllowed, fault(t, w).Code)
	require.Equal(t, "POST", w.Header().Get("Allow"))
}

func TestEveryAnswerCarriesSecurityHeadersAndARequestID(t *testing.T) {
	r := newRig(t, httpserver.Config{}, nil)
	for _, w := range []*httptest.ResponseRecorder{r.get("/api/health"), r.get("/nowhere")} {
		require.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
		require.Contains(t, w.Header().Get("Content-Security-Policy"), "default-src 'none'")
		require.NotEmpty(t, w.Header().Get("X-Request-ID"))
	}
	for given, kept := range map[string]bool{"abc-123": true, "": false, "a b": false, "x\ny": false, strings.Repeat("x", 65): false} {
		req := httptest.NewRequest(http.MethodGet, "/api/health", nil)
		req.Header["X-Request-Id"] = []string{given}
		require.Equal(t, kept, r.do(req).Header().Get("X-Request-ID") == given, "%q", given)
	}
}

func TestForwardedAddressesAreBelievedOnlyFromTrustedProxies(t *testing.T) {
	seen := func(c *gin.Context) { c.String(http.StatusOK, c.ClientIP()) }
	for trusted, want := range map[string]string{"": "192.0.2.1", "192.0.2.0/24": "203.0.113.9", "198.51.100.7": "192.0.2.1"} {
		var proxies []string
		if trusted != "" {
			proxies = []string{trusted}
		}
		r := newRig(t, httpserver.Config{TrustedProxies: proxies}, func(r gin.IRouter) { r.GET("/ip", seen) })
		req := httptest.NewRequest(http.MethodGet, "/ip", nil) // from 192.0.2.1
		req.Header.Set("X-Forwarded-For", "203.0.113.9")
		require.Equal(t, want, r.do(req).Body.String(), "trusted %q", trusted)
	}
}

func TestPagesOfOtherOriginsMayCallOnlyIfSet(t *testing.T) {
	headers := "authorization"
	preflight := func(r *rig) http.Header {
		req := httptest.NewRequest(http.MethodOptions, "/api/health", nil)
		req.Header.Set("Origin", "https://chat.example")
		req.Header.Set("Access-Control-Request-Method", "GET")
		req.Header.Set("Access-Control-Request-Headers", headers)
		return r.do(req).Header()
	}
	closed := newRig(t, httpserver.Config{}, nil)
	require.Empty(t, preflight(closed).Get("Access-Control-Allow-Origin"))
	open := newRig(t, httpserver.Config{CORSOrigins: []string{"https://chat.example"}}, nil)
	require.Equal(t, "https://chat.example", preflight(open).Get("Access-Control-Allow-Origin"))
	require.Equal(t, "authorization", preflight(open).Get("Access-Control-Allow-Headers"))
	// Event-source and HTTP libraries send headers of their own.
	headers = "authorization,cache-control,last-event-id,x-requested-with"
	require.Equal(t, headers, preflight(open).Get("Access-Control-Allow-Headers"))
}

// door accepts or refuses tokens as a test sets.
type door map[string]error

func (d door) Check(_ context.Context, raw string) (token.Identity, error) {
	return token.Identity{Username: "Bob", Subject: "bob"}, d[raw]
}

func TestABearerTokenIsRequired(t *testing.T) {
	checker := door{"expired": token.ErrExpired, "revoked": token.ErrRevoked, "bad": token.ErrInvalid, "stale": token.ErrUnavailable}
	r := newRig(t, httpserver.Config{}, func(r gin.IRouter) {
		r.GET("/me", httpserver.RequireToken(checker), func(c *gin.Context) { c.String(http.StatusOK, httpserver.Caller(c).Username) })
	})
	for header, want := range map[string]api.Code{
		"Bearer good": "", "bearer good": "", "": api.CodeNoToken, "Basic x": api.CodeNoToken, "Bearer": api.CodeNoToken, "Bearer ": api.CodeNoToken,
		"Bearer expired": api.CodeTokenExpired, "Bearer revoked": api.CodeTokenRevoked, "Bearer bad": api.CodeInvalidToken, "Bearer stale": api.CodeUnavailable,
	} {
		req := httptest.NewRequest(http.MethodGet, "/me", nil)
		req.Header.Set("Authorization", header)
		w := r.do(req)
		if want == "" {
			require.Equal(t, "Bob", w.Body.String())
			continue
		}
		require.Equal(t, want, fault(t, w).Code, header)
		require.Equal(t, w.Code == http.StatusUnauthorized, w.Header().Get("WWW-Authenticate") != "")
	}
}

// quota always returns the same decision.
type quota struct {
	result ratelimit.Result
	err    error
}

func (q quota) Allow(context.Context, string) (ratelimit.Result, error) { return q.result, q.err }

func (q quota) AllowN(context.Context, string, int) (ratelimit.Result, error) { return q.result, q.err }

func (q quota) GiveBack(context.Context, string, int) error { return q.err }

func TestRetriesAreSpreadOverWholeSeconds(t *testing.T) {
	for base, most := range map[time.Duration]time.Duration{time.Millisecond: 4 * time.Second, time.Second: 4 * time.Second, 2 * time.Second: 8 * time.Second} {
		seen := map[time.Duration]bool{}
		for range 1000 {
			after := httpserver.RetryAfter(base)
			require.Zero(t, after%time.Second)
			require.GreaterOrEqual(t, after, base)
			require.LessOrEqual(t, after, most)
			seen[after] = true
		}
		require.GreaterOrEqual(t, len(seen), 4, "they come back together")
	}
}

// TestAnAnswerThatIsCutOffIsToldOf: the log and the metrics report the failure, and the client sees that the answer is incomplete.
func TestAnAnswerThatIsCutOffIsToldOf(t *testing.T) {
	table := httpserver.ErrorTable{{Err: errDomain, Answer: httpserver.UnavailableAnswer("the store")}}
	begin := func(c *gin.Context) {
		c.Status(http.StatusOK)
		_, _ = c.Writer.WriteString("half of it")
		c.Writer.Flush()
	}
	r := newRig(t, httpserver.Config{}, func(r gin.IRouter) {
		r.GET("/error", func(c *gin.Context) {
			begin(c)
			table.Abort(c, errDomain)
		})
		r.GET("/panic", func(c *gin.Context) {
			begin(c)
			panic("in the middle")
		})
	})
	for path, status := range map[string]string{"/error": "503", "/panic": "500"} {
		res, err := http.Get("http://" + r.server.Address() + path) //nolint:noctx // a test's
		require.NoError(t, err)
		_, err = io.ReadAll(res.Body)
		require.Error(t, err, path)
		require.NoError(t, res.Body.Close())
		w := httptest.NewRecorder()
		r.server.AdminHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		require.Contains(t, w.Body.String(), `sealpost_http_requests_total{method="GET",route="`+path+`",status="`+status+`"} 1`)
	}
	require.Contains(t, r.logs.String(), errDomain.Error())
}

func TestAClientThatHasGoneIsNoFailureOfTheServer(t *testing.T) {
	for _, gone := range []bool{false, true} {
		w := httptest.NewRecorder()
		c, _ := gin.CreateTestContext(w)
		ctx, cancel := context.WithCancel(t.Context())
		c.Request = httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx)
		if gone {
			cancel()
		}
		httpserver.ErrorTable{}.Write(c, fmt.Errorf("store: %w", context.Canceled))
		cancel()
		require.Equal(t, gone, w.Code == 499)
		require.Equal(t, !gone, w.Code == http.StatusServiceUnavailable)
	}
}

func TestAUsersQuotaIsToldAndKept(t *testing.T) {
	for _, c := range []struct {
		quota  quota
		status int
		header string
	}{
		{quota{result: ratelimit.Result{Allowed: true}}, 200, ""},
		{quota{result: ratelimit.Result{Allowed: true, Limit: 10, Remaining: 9, ResetAfter: 1500 * time.Millisecond}}, 200, "limit=10, remaining=9, reset=2"},
		{quota{result: ratelimit.Result{Limit: 10, ResetAfter: time.Minute, RetryAfter: 7 * time.Second}}, 429, "limit=10, remaining=0, reset=60"},
		{quota{err: ratelimit.ErrUnavailable}, 503, ""},
	} {
		r := newRig(t, httpserver.Config{}, func(r gin.IRouter) {
			r.GET("/", httpserver.RequireToken(door{}), httpserver.LimitUser(c.quota), func(c *gin.Context) { c.Status(http.StatusOK) })
		})
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set("Authorization", "Bearer x")
		w := r.do(req)
		require.Equal(t, c.status, w.Code)
		require.Equal(t, c.header, w.Header().Get("RateLimit"))
		if c.status == 429 {
			require.Contains(t, []string{"7", "8", "9", "10"}, w.Header().Get("Retry-After"))
		}
	}
}

func TestTheAdminPortTellsLifeReadinessAndMetrics(t *testing.T) {
	r := newRig(t, httpserver.Config{}, decoding)
	admin := func(path string) (int, string) {
		res, err := http.Get("http://" + r.server.AdminAddress() + path)
		require.NoError(t, err)
		defer func() { require.NoError(t, res.Body.Close()) }()
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(text)
	}
	r.get("/nowhere")
	for path, want := range map[string]string{
		"/livez": "ok", "/readyz": "ok", "/metrics": `sealpost_http_requests_total{method="GET",route="unmatched",status="404"} 1`, "/debug/pprof/": "goroutine",
	} {
		status, text := admin(path)
		require.Equal(t, 200, status, path)
		require.Contains(t, text, want)
	}
	require.NoError(t, r.server.Drain(context.Background()))
	status, _ := admin("/readyz")
	require.Equal(t, 503, status)
	status, _ = admin("/livez")
	require.Equal(t, 200, status)
	require.NotEqual(t, 200, r.get("/metrics").Code, "the public port shows metrics")
}

func TestReadinessNamesWhatIsMissing(t *testing.T) {
	s, err := httpserver.New(t.Context(), httpserver.Config{AdminAddress: "127.0.0.1:0", MaxHeaderBytes: 8192}, httpserver.Options{
		Address: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler), Registry: metrics.NewRegistry(),
		Checks: []httpserver.Check{{Name: "revocations", Ready: func(context.Context) error { return errors.New("still reading") }}},
	})
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	res, err := http.Get("http://" + s.AdminAddress() + "/readyz")
	require.NoError(t, err)
	text, err := io.ReadAll(res.Body)
	require.NoError(t, errors.Join(err, res.Body.Close()))
	require.Equal(t, 503, res.StatusCode)
	require.Contains(t, string(text), "revocations: still reading")
	http.DefaultClient.CloseIdleConnections()
	require.NoError(t, s.Shutdown(context.Background()))
	require.NoError(t, <-served)
}

func TestAMethodOfAStrangersInventionIsNoMetricLabel(t *testing.T) {
	r := newRig(t, httpserver.Config{}, nil)
	for i := range 20 {
		r.do(httptest.NewRequest(fmt.Sprintf("M%d", i), "/api/health", nil))
	}
	w := httptest.NewRecorder()
	r.server.AdminHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.NotContains(t, w.Body.String(), `method="M1`)
	require.Contains(t, w.Body.String(), `method="other"`)
}

func TestASettingThatCannotBeIsNamed(t *testing.T) {
	cfg := httpserver.Config{LameDuck: -1, MaxHeaderBytes: 1, TrustedProxies: []string{"nonsense"}}
	err := cfg.Validate()
	for _, name := range []string{"LAME_DUCK", "IDLE_TIMEOUT", "MAX_HEADER_BYTES", "TRUSTED_PROXIES"} {
		require.ErrorContains(t, err, name)
	}
}

func TestANumberInTheQueryIsHeldToItsBounds(t *testing.T) {
	r := newRig(t, httpserver.Config{}, func(r gin.IRouter) {
		r.GET("/", httpserver.ErrorTable{}.Handle(func(c *gin.Context) error {
			n, err := httpserver.QueryInt(c, "limit", 50, 1, 200)
			c.Header("Seen", fmt.Sprint(n))
			return err
		}))
	})
	for query, want := range map[string]string{"": "50", "?limit=1": "1", "?limit=200": "200"} {
		require.Equal(t, want, r.get("/"+query).Header().Get("Seen"), query)
	}
	for _, query := range []string{"?limit=", "?limit=0", "?limit=201", "?limit=x", "?limit=1.5", "?limit=9223372036854775808"} {
		e := fault(t, r.get("/"+query))
		require.Equal(t, "limit", e.Field, query)
		require.Equal(t, api.CodeInvalidField, e.Code)
	}
}

// TestABodyThatNeverComesHoldsNoConnection, whether a handler waits for it or nobody reads it.
func TestABodyThatNeverComesHoldsNoConnection(t *testing.T) {
	r := newRig(t, httpserver.Config{}, func(r gin.IRouter) {
		r.POST("/read", httpserver.ErrorTable{}.Handle(func(c *gin.Context) error {
			var body struct{}
			return httpserver.DecodeJSON(c, &body)
		}))
		r.POST("/unread", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	})
	for path, status := range map[string]string{"/read": "408", "/unread": "204", "/nowhere": "404"} {
		conn, err := net.Dial("tcp", r.server.Address())
		require.NoError(t, err)
		_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n", path)
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(45*time.Second))) // it used to hang forever
		answer, err := io.ReadAll(conn)
		require.NoError(t, err, "%s: the connection stays", path)
		require.Contains(t, string(answer), "HTTP/1.1 "+status)
		require.NoError(t, conn.Close())
	}
}
