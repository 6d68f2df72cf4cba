package live_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/prometheus/catalogue"
	"github.com/sealpost/sealpost/deploy/prometheus/live"
	"github.com/sealpost/sealpost/deploy/prometheus/rules"
)

// prometheus answers every query with answer, and reports all rules as healthy except those in ill.
func prometheus(t *testing.T, answer func(query string) (status, result string), ill string) string {
	groups, err := rules.Load()
	require.NoError(t, err)
	var list []map[string]string
	for _, g := range groups {
		for _, r := range g.Rules {
			health := "ok"
			if r.Alert+r.Record == ill {
				health = "err"
			}
			list = append(list, map[string]string{"name": r.Alert + r.Record, "health": health})
		}
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/rules" {
			_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": map[string]any{"groups": []any{map[string]any{"rules": list}}}})
			return
		}
		status, result := answer(r.FormValue("query"))
		_, _ = w.Write([]byte(`{"status":"` + status + `","error":"told","data":{"resultType":"vector","result":` + result + `}}`))
	}))
	t.Cleanup(s.Close)
	return s.URL
}

const one = `[{"metric":{"job":"auth"},"value":[1,"42"]}]`

func TestEveryPanelAndRuleIsAskedForAndShown(t *testing.T) {
	var shown bytes.Buffer
	url := prometheus(t, func(string) (string, string) { return "success", one }, "")
	require.NoError(t, live.Check(t.Context(), url, &shown))
	for _, want := range []string{
		"dashboard Sealpost: service health", "Requests by route [reqps]", `42 {job="auth"}`, "alert SealpostBusAway",
		"records cluster_namespace:sealpost_send_errors:ratio_rate5m", " 0 of them wrong",
	} {
		require.Contains(t, shown.String(), want)
	}
}

func TestAnErrorAnEmptyAnswerAndARuleThatIsIllAreFaults(t *testing.T) {
	for name, c := range map[string]struct {
		status, result, ill, fault string
	}{
		"error": {status: "error", result: one, fault: "told"},
		"empty": {status: "success", result: "[]", fault: "nothing is answered"},
		"ill":   {status: "success", result: one, ill: "SealpostBusAway", fault: "rule SealpostBusAway is not evaluated: err"},
	} {
		t.Run(name, func(t *testing.T) {
			var shown bytes.Buffer
			url := prometheus(t, func(string) (string, string) { return c.status, c.result }, c.ill)
			require.ErrorContains(t, live.Check(t.Context(), url, &shown), c.fault)
		})
	}
}

func TestAnAlertThatIsQuietIsNoFault(t *testing.T) {
	url := prometheus(t, func(query string) (string, string) {
		if strings.TrimSpace(query) == "sealpost_bus_connected == 0" {
			return "success", "[]"
		}
		return "success", one
	}, "")
	require.NoError(t, live.Check(t.Context(), url, &bytes.Buffer{}))
}

// In a cluster nothing answers for what the table of metrics has for the standalone server only.
func TestAClusterNeedNotAnswerWhatOnlyTheStandaloneServerTells(t *testing.T) {
	table, err := catalogue.Read("../../METRICS.md")
	require.NoError(t, err)
	var names []string
	for _, m := range table {
		if slices.Equal(m.Where, []string{catalogue.Standalone}) {
			names = append(names, m.Name)
		}
	}
	require.NotEmpty(t, names)
	url := prometheus(t, func(query string) (string, string) {
		if slices.ContainsFunc(names, func(name string) bool { return strings.Contains(query, name) }) {
			return "success", "[]"
		}
		return "success", one
	}, "")
	require.NoError(t, live.Check(t.Context(), url, &bytes.Buffer{}))
}
