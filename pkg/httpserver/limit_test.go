package httpserver_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/ratelimit"
)

// noted is a limiter that allows everything and notes for whom.
type noted struct{ keys []string }

func (n *noted) Allow(_ context.Context, key string) (ratelimit.Result, error) {
	n.keys = append(n.keys, key)
	return ratelimit.Result{Allowed: true}, nil
}

func (n *noted) AllowN(ctx context.Context, key string, _ int) (ratelimit.Result, error) {
	return n.Allow(ctx, key)
}

func (n *noted) GiveBack(context.Context, string, int) error { panic("nothing is given back") }

// TestAStrangerIsCountedByTheNetwork: as the peer, or as what a trusted proxy says; an IPv6 address counts as its /64.
func TestAStrangerIsCountedByTheNetwork(t *testing.T) {
	for peer, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1", "[2001:db8:1:2:3:4:5:6]:5": "2001:db8:1:2::/64", "[2001:db8:1:2:ffff::]:7": "2001:db8:1:2::/64",
		"[::ffff:192.0.2.1]:5": "192.0.2.1", "@": "", // a socket without addresses
	} {
		limiter := &noted{}
		r := newRig(t, httpserver.Config{TrustedProxies: []string{"198.51.100.0/24"}}, func(r gin.IRouter) {
			r.GET("/", httpserver.LimitAddress(limiter), func(c *gin.Context) { c.Status(http.StatusOK) })
		})
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.RemoteAddr = peer
		req.Header.Set("X-Forwarded-For", "203.0.113.9")
		require.Equal(t, http.StatusOK, r.do(req).Code)
		req.RemoteAddr = "198.51.100.1:80"
		r.do(req)
		require.Equal(t, []string{want, "203.0.113.9"}, limiter.keys, peer)
	}
}

func TestAboveTheLimitOfAnAddressTheHandlerIsNotReached(t *testing.T) {
	reached := 0
	r := newRig(t, httpserver.Config{}, func(r gin.IRouter) {
		l := ratelimit.NewInProcess(ratelimit.Quota{Events: 2, Period: time.Hour}, 0)
		r.GET("/", httpserver.LimitAddress(l), func(c *gin.Context) { reached++; c.Status(http.StatusOK) })
	})
	ask := func(peer string) *httptest.ResponseRecorder {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.RemoteAddr = peer
		return r.do(req)
	}
	require.Equal(t, "limit=2, remaining=1, reset=1800", ask("192.0.2.1:1").Header().Get("RateLimit"))
	require.Equal(t, http.StatusOK, ask("192.0.2.1:2").Code)
	w := ask("192.0.2.1:3")
	require.Equal(t, http.StatusTooManyRequests, w.Code)
	require.Contains(t, w.Body.String(), `"rate_limited"`)
	require.Contains(t, w.Header().Get("RateLimit"), "limit=2, remaining=0, reset=")
	require.NotEmpty(t, w.Header().Get("Retry-After"))
	require.Equal(t, 2, reached)
	require.Equal(t, http.StatusOK, ask("192.0.2.2:1").Code, "others are not held to it")
}
