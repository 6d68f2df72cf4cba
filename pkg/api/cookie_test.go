package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

func TestAReadCookieIsReadAsItWasWritten(t *testing.T) {
	for _, r := range []api.ReadCookie{{Session: "s1", Epoch: "e0a", Position: 7}, {Session: "s1"}} {
		set, err := http.ParseSetCookie(r.String())
		require.NoError(t, err)
		require.True(t, set.HttpOnly)
		got, ok := api.ParseReadCookie(&http.Request{Header: http.Header{"Cookie": {"x=y; " + set.Name + "=" + set.Value}}}, "s1")
		require.True(t, ok)
		require.Equal(t, r, got)
	}
}

func TestAnythingElseIsNoReadCookie(t *testing.T) {
	for _, value := range []string{"", "s1", "s1.e", "s1.e.x", "s1.e.-1", "s2.e.1", "s1.e.1.1", "s1.e.9223372036854775808"} {
		_, ok := api.ParseReadCookie(&http.Request{Header: http.Header{"Cookie": {"sealpost_read=" + value}}}, "s1")
		require.False(t, ok, value)
	}
}
