package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/blackbox/clitest"
	"github.com/sealpost/sealpost/deploy/test/load/report"
)

// TestLoadIsPutOnAServerAndJudged runs every scenario of sealpost-load at small size.
func TestLoadIsPutOnAServerAndJudged(t *testing.T) {
	t.Parallel()
	server := start(t, t.TempDir(), 0)
	load := buildLoad(t, server.url)
	metrics := server.admin + "/metrics"
	cases := []struct {
		name string
		args []string
		// figures must have been measured and be positive.
		figures []string
		// measured must be present. Sixty streams take less memory than an idle process gains or releases meanwhile, so a negative
		// value is valid.
		measured []string
		// latency must have been measured count times; 0 means at least once.
		latency string
		count   int64
	}{
		{"closed loop to all", []string{"deliver", "--users", "5", "--duration", "500ms", "--warm-up", "100ms", "--concurrency", "4"},
			[]string{"deliveries", "sends accepted", "generator CPU", "server CPU", "server memory"}, nil, "delivery", 0},
		{"a rate to some", []string{"deliver", "--users", "5", "--fan-out", "2", "--rate", "50", "--duration", "1s", "--warm-up", "0s"},
			[]string{"deliveries"}, nil, "delivery", 100},
		{"pairs", []string{"pairs", "--users", "4", "--rate", "50", "--duration", "1s", "--warm-up", "0s"}, []string{"sends accepted"}, nil, "send", 50},
		{"parked polls", []string{"park", "--polls", "60", "--users", "6", "--probes", "3", "--ramp", "100ms", "--hold", "100ms", "--sources", "2"},
			[]string{"parked", "parked, as the server counts", "parked after", "memory parked"}, []string{"memory a poll"}, "delivery", 30},
		{"parked streams", []string{"park", "--streams", "--polls", "60", "--users", "6", "--probes", "3", "--ramp", "100ms", "--hold", "100ms"},
			[]string{"parked", "parked, as the server counts", "parked after", "memory parked"}, []string{"memory a stream"}, "delivery", 30},
		{"a storm", []string{"storm", "--polls", "40", "--processes", "3", "--users", "4", "--probes", "4", "--ramp", "0s", "--hold", "0s", "--over", "200ms"},
			[]string{"parked again", "parked again after"}, nil, "delivery", 40},
		{"logins", []string{"login", "--users", "3", "--rate", "20", "--duration", "500ms", "--warm-up", "0s"}, []string{"logins"}, nil, "login", 10},
		{"an inbox", []string{"inbox", "--messages", "1100", "--polls", "20", "--duration", "200ms"},
			[]string{"sends accepted with 1000", "median poll with 1000", "sends accepted with 1100", "median poll with 1100"}, nil, "poll with 1100", 20},
	}
	for _, test := range cases {
		t.Run(test.name, func(t *testing.T) {
			json, html := filepath.Join(t.TempDir(), "r.json"), filepath.Join(t.TempDir(), "r.html")
			out, err := load(append(test.args, "--metrics", metrics, "--json", json, "--html", html)...)
			require.NoError(t, err, out)
			r := readReport(t, json)
			require.True(t, r.Passed())
			for _, name := range test.figures {
				value, ok := r.Value(name)
				require.True(t, ok && value > 0, "%s: %v\n%s", name, value, out)
			}
			for _, name := range test.measured {
				_, ok := r.Value(name)
				require.True(t, ok, "%s\n%s", name, out)
			}
			require.Positive(t, r.Latency(test.latency).Count)
			if test.count > 0 {
				require.Equal(t, test.count, r.Latency(test.latency).Count)
			}
			if r.Check != nil {
				require.Positive(t, r.Check.Accepted)
				require.Contains(t, out, "arrived once, in order")
			}
			page, err := os.ReadFile(html)
			require.NoError(t, err)
			require.Contains(t, string(page), "<svg")
		})
	}
}

// buildLoad builds sealpost-load and returns how to run it on a server to its end: it returns what the program printed.
func buildLoad(t *testing.T, server string) func(args ...string) (string, error) {
	t.Helper()
	program := clitest.Compile(t, "deploy/test/load/cmd/sealpost-load")
	return func(args ...string) (string, error) {
		out, err := exec.Command(program, append([]string{"--server", server}, args...)...).CombinedOutput()
		return string(out), err
	}
}

func readReport(t *testing.T, path string) report.Report {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var r report.Report
	require.NoError(t, json.Unmarshal(text, &r))
	return r
}

func TestPollsThatTheServerHasNoRoomForAreAFault(t *testing.T) {
	t.Parallel()
	server := start(t, t.TempDir(), 0, "MAX_POLLS=10")
	load := buildLoad(t, server.url)
	out, err := load("park", "--polls", "20", "--users", "2", "--probes", "1", "--ramp", "0s", "--patience", "1s")
	require.Error(t, err)
	require.Contains(t, out, "poll 503")
	require.Contains(t, out, "only 10 of 20 polls")
}

func TestUsersOfAnEarlierLoadTestLogIn(t *testing.T) {
	t.Parallel()
	server := start(t, t.TempDir(), 0)
	load := buildLoad(t, server.url)
	for range 2 {
		out, err := load("pairs", "--prefix", "again_", "--users", "2", "--duration", "100ms", "--warm-up", "0s", "--concurrency", "2")
		require.NoError(t, err, out)
	}
	out, err := load("pairs", "--prefix", "again_", "--users-password", "another one", "--users", "2")
	require.Error(t, err)
	require.Contains(t, out, "status 401")
	for _, wrong := range [][]string{{"what"}, {"deliver", "--users", "1"}, {"deliver", "--fan-out", "x"}, {"pairs", "--size", "1"}, {"park", "--polls", "0"}, {"inbox", "--limit", "0"}, {"login", "--users", "0"}} {
		out, err := load(wrong...)
		require.Error(t, err, out)
	}
}
