package httpserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
)

// TestFailuresThatAreAlikeDoNotFloodTheLog, but another kind is seen among them, and the number of all.
func TestFailuresThatAreAlikeDoNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newFailureLog(slog.New(slog.NewJSONHandler(&out, nil)))
		fail := func(n int, route string, code api.Code) (lines []map[string]any) {
			out.Reset()
			for range n {
				l.add(t.Context(), route, api.New(503, code, "m"), errors.New("why"))
			}
			for decoder := json.NewDecoder(&out); decoder.More(); {
				var line map[string]any
				require.NoError(t, decoder.Decode(&line))
				lines = append(lines, line)
			}
			return lines
		}
		first := fail(mostAlike+90, "/a", api.CodeAtCapacity)
		require.Len(t, first, mostAlike)
		require.NotContains(t, first[0], "alikeUnlogged")
		require.Len(t, fail(1, "/b", api.CodeAtCapacity), 1)
		require.Len(t, fail(1, "/a", api.CodeUnavailable), 1)
		require.Empty(t, fail(1, "/a", api.CodeAtCapacity))
		<-time.After(alikePeriod)
		later := fail(2, "/a", api.CodeAtCapacity)
		require.Len(t, later, 2)
		require.EqualValues(t, 91, later[0]["alikeUnlogged"])
		require.NotContains(t, later[1], "alikeUnlogged")
		l.add(t.Context(), "/a", api.New(429, api.CodeRateLimited, "m"), errors.New("no fault of the server"))
		require.Len(t, l.kinds, 3)
	})
}
