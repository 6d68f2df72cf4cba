package networks_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/networks"
)

// TestAnEventSourceIsToldToComeBackByTheChartsSnippets while no gateway is there, and nobody else is.
func TestAnEventSourceIsToldToComeBackByTheChartsSnippets(t *testing.T) {
	lab := startLab(t, networks.RelayLink)
	for name, hop := range map[string]networks.Hop{networks.HAProxy: networks.ChartHAProxy, networks.Nginx: networks.ChartNginx} {
		t.Run(name, func(t *testing.T) {
			if why := tools.Missing[name]; why != "" {
				require.False(t, networks.Required(), why)
				t.Skip(why)
			}
			for _, c := range []struct {
				upstream, path string
				status         int
				text           string
			}{
				{"", "stream", http.StatusOK, "retry: 4000\n\n"},
				{"", "poll", http.StatusServiceUnavailable, "503"},
				{strings.TrimPrefix(lab.URL(), "http://"), "stream", http.StatusUnauthorized, "token"},
			} {
				port, end, err := hop(t.Context(), lab, c.upstream)
				require.NoError(t, err)
				res, err := http.Get("http://127.0.0.1:" + strconv.Itoa(port) + "/api/messages/" + c.path) //nolint:noctx,gosec // a proxy of this test's
				require.NoError(t, err)
				text, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				require.NoError(t, res.Body.Close())
				require.Equal(t, c.status, res.StatusCode, "%s: %s", c.path, text)
				require.Contains(t, string(text), c.text)
				if c.status == http.StatusOK {
					require.Contains(t, res.Header.Get("Content-Type"), "text/event-stream")
				}
				require.NoError(t, end())
			}
		})
	}
}
