package httpserver_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/httpserver"
)

// What common tools and proxies send.

// TestAForwardedAddressIsFoundInEveryForm that proxies write; what cannot be read is nobody's word, and the peer counts.
func TestAForwardedAddressIsFoundInEveryForm(t *testing.T) {
	r := newRig(t, httpserver.Config{TrustedProxies: []string{"192.0.2.0/24"}}, func(r gin.IRouter) {
		r.GET("/ip", func(c *gin.Context) { c.String(http.StatusOK, c.ClientIP()) })
	})
	for want, lines := range map[string][]string{
		"203.0.113.9":  {"203.0.113.9:4711"},
		"203.0.113.10": {"198.51.100.1, 203.0.113.10:4711, 192.0.2.7:80"},
		"2001:db8::1":  {"[2001:db8::1]:4711"},
		"2001:db8::2":  {"[2001:db8::2]"},
		"2001:db8::3":  {"2001:db8::3"},
		"203.0.113.11": {"198.51.100.1", "203.0.113.11"}, // the client's line, and the proxy's below it
		"192.0.2.1":    {"unknown"},
	} {
		req := httptest.NewRequest(http.MethodGet, "/ip", nil) // from 192.0.2.1
		req.Header["X-Forwarded-For"] = lines
		req.Header.Set("X-Real-IP", "198.51.100.66")
		require.Equal(t, want, r.do(req).Body.String(), "%q", lines)
	}
	req := httptest.NewRequest(http.MethodGet, "/ip", nil)
	req.Header.Set("X-Real-IP", "198.51.100.66")
	require.Equal(t, "192.0.2.1", r.do(req).Body.String(), "proxies pass on what clients write there")
}

// TestAHeadIsAnsweredLikeAGet without its body, as RFC 9110 requires: monitors ask so.
func TestAHeadIsAnsweredLikeAGet(t *testing.T) {
	r := newRig(t, httpserver.Config{}, func(r gin.IRouter) {
		r.POST("/post", func(c *gin.Context) { c.Status(http.StatusNoContent) })
	})
	address := "http://" + r.server.Address()
	for path, status := range map[string]int{"/api/health": 200, "/nowhere": 404, "/post": 405} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, address+path, nil)
		require.NoError(t, err)
		res, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		body, err := io.ReadAll(res.Body)
		require.NoError(t, errors.Join(err, res.Body.Close()))
		require.Equal(t, status, res.StatusCode, path)
		require.Empty(t, body)
		require.Equal(t, "application/json; charset=utf-8", res.Header.Get("Content-Type"))
		require.Positive(t, res.ContentLength)
	}
	w := r.do(httptest.NewRequest(http.MethodDelete, "/api/health", nil))
	require.Equal(t, http.StatusMethodNotAllowed, w.Code)
	require.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
}
