package ratelimit_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/ratelimit"
)

// away is a limiter that always fails.
type away struct{}

func (away) Allow(context.Context, string) (ratelimit.Result, error) {
	return ratelimit.Result{}, ratelimit.ErrUnavailable
}

func (away) AllowN(context.Context, string, int) (ratelimit.Result, error) {
	return ratelimit.Result{}, ratelimit.ErrUnavailable
}

func (away) GiveBack(context.Context, string, int) error { return ratelimit.ErrUnavailable }

func TestWhatALimitDecidesIsCountedByItsName(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	m := ratelimit.NewMetrics(reg)
	send := m.Measure("send", ratelimit.NewInProcess(ratelimit.Quota{Events: 2, Period: time.Hour}, 10))
	login := m.Measure("login", away{})
	for range 3 {
		_, err := send.Allow(t.Context(), "alice")
		require.NoError(t, err)
	}
	for n, allowed := range []bool{false, false, true} { // of 2 in each hour, for Bob
		r, err := send.AllowN(t.Context(), "bob", 4-n)
		require.NoError(t, err)
		require.Equal(t, allowed, r.Allowed)
	}
	_, err := login.Allow(t.Context(), "alice")
	require.ErrorIs(t, err, ratelimit.ErrUnavailable)
	_, err = login.AllowN(t.Context(), "alice", 3)
	require.ErrorIs(t, err, ratelimit.ErrUnavailable)
	require.NoError(t, send.GiveBack(t.Context(), "bob", 2))
	require.ErrorIs(t, login.GiveBack(t.Context(), "alice", 1), ratelimit.ErrUnavailable)
	const name = "sealpost_rate_limit_decisions_total"
	require.NoError(t, testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP `+name+` Requests that a rate limit was asked about, by the limit and what it said: allowed, refused, or unavailable when it could not tell; given_back is an allowed one that was taken back.
# TYPE `+name+` counter
`+name+`{decision="allowed",limit="login"} 0
`+name+`{decision="given_back",limit="login"} 0
`+name+`{decision="refused",limit="login"} 0
`+name+`{decision="unavailable",limit="login"} 3
`+name+`{decision="allowed",limit="send"} 3
`+name+`{decision="given_back",limit="send"} 1
`+name+`{decision="refused",limit="send"} 3
`+name+`{decision="unavailable",limit="send"} 0
`), name))
}
