package bench

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/load/measure"
	"github.com/sealpost/sealpost/deploy/test/load/report"
)

// lines returns the fields of a table's lines.
func lines(t *testing.T, table *table) (list [][]string) {
	t.Helper()
	var out strings.Builder
	require.NoError(t, table.write(&out))
	for line := range strings.Lines(out.String()) {
		list = append(list, strings.Fields(line))
	}
	return list
}

func TestMediansOfAllRunsArePrinted(t *testing.T) {
	table := newTable([]build{{name: "now"}})
	for _, v := range []float64{3, 1, 200} {
		table.add(0, "s", "x", v, "ms")
	}
	table.add(0, "s", "y", 0.25, "ms")
	table.add(0, "s", "y", 0.75, "ms")
	table.add(0, "other", "y", 1, "ms")
	require.Equal(t, [][]string{
		{"median", "lowest", "highest", "unit", "what"},
		{"s"},
		{"3", "1", "200", "ms", "x"},
		{"0.500", "0.250", "0.750", "ms", "y"},
		{"other"},
		{"1", "1", "1", "ms", "y"},
	}, lines(t, table))
}

func TestTwoBuildsAreComparedByTheirMedians(t *testing.T) {
	table := newTable([]build{{name: "abc"}, {name: "now"}})
	for i := range 3 {
		table.add(0, "s", "cost", float64(300+10*i), "µs")
		table.add(1, "s", "cost", float64(100+45*i), "µs")
	}
	table.add(1, "s", "new", 5, "ms")
	table.add(0, "s", "old", 5, "ms")
	table.add(0, "s", "none", 0, "ms")
	table.add(1, "s", "none", 1, "ms")
	require.Equal(t, [][]string{
		{"abc:", "median", "lowest", "highest", "now:", "median", "lowest", "highest", "now/abc", "unit", "what"},
		{"s"},
		{"310", "300", "320", "145", "100", "190", "0.47", "µs", "cost"},
		{"-", "-", "-", "5", "5", "5", "-", "ms", "new"},
		{"5", "5", "5", "-", "-", "-", "-", "ms", "old"},
		{"0", "0", "0", "1", "1", "1", "-", "ms", "none"},
	}, lines(t, table))
}

func TestTheResultsOfGoBenchmarksAreRead(t *testing.T) {
	table := newTable([]build{{name: "now"}})
	require.NoError(t, readBenchmarks(0, "./pkg/x", "goos: linux\nBenchmarkAppend/recipients=20-2  10  1500 ns/op  7 sends/s  64 B/op  3 allocs/op\nPASS\n", table))
	require.Len(t, table.rows, 3)
	require.Equal(t, &row{"pkg/x", "Append/recipients=20", "ns/op", [][]float64{{1500}}}, table.rows[0])
}

func TestOfAReportTheWantedRowsAreTaken(t *testing.T) {
	r := &report.Report{Latencies: []measure.Summary{{Name: "send", Percentiles: []measure.Percentile{{Percent: 99, Millis: 4}}}}}
	r.Figure("a", 1, "/s")
	r.Figure("b", 2, "/s")
	table := newTable([]build{{name: "old"}, {name: "now"}})
	scenario{name: "s", figures: []string{"b"}, latencies: []string{"send"}}.rows(1, r, table)
	require.Equal(t, &row{"s", "b", "/s", [][]float64{nil, {2}}}, table.rows[0])
	require.Equal(t, &row{"s", "send p99", "ms", [][]float64{nil, {4}}}, table.rows[2])
}

func TestIdleReadersAreHeldByTheGatewaysAndMessagesFlowThroughAll(t *testing.T) {
	d := &deployment{metrics: []string{"m", "n"}, gatewayMetrics: []string{"m"}, gateways: []string{"g", "h"}, cpu: []string{"server=1,2", "engines=3"}}
	require.Equal(t, []string{"park", "--gateways", "g,h", "--metrics", "m"}, scenario{args: []string{"park"}, idle: true}.arguments(d))
	require.Equal(t, []string{"pairs", "--cpu", "server=1,2", "--cpu", "engines=3", "--metrics", "m,n"}, scenario{args: []string{"pairs"}}.arguments(d))
}

// TestAnEarlierCommitIsBuiltBesideTheWorkspace uses a repository whose services are one line each.
func TestAnEarlierCommitIsBuiltBesideTheWorkspace(t *testing.T) {
	root, bin := t.TempDir(), t.TempDir()
	file := func(name, text string) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o750))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o600))
	}
	git := func(args ...string) {
		_, err := output(t.Context(), root, "git", append([]string{"-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
		require.NoError(t, err)
	}
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "")
	file("go.mod", "module example\n\ngo 1.26\n")
	for _, s := range services {
		file("services/"+s+"/main.go", "package main\n\nfunc main() { println(\"old "+s+"\") }\n")
	}
	git("init", "-q")
	git("add", ".")
	git("commit", "-qm", "old")
	file("services/auth/main.go", "package main\n\nfunc main() { broken }\n")
	git("commit", "-qam", "new")

	list, remove, err := builds(t.Context(), Options{Root: root, Bin: bin, Against: "HEAD~1"}, io.Discard)
	require.NoError(t, err)
	require.Len(t, list, 2)
	require.Equal(t, build{"now", root, bin}, list[1])
	for _, s := range services {
		said, err := exec.CommandContext(t.Context(), filepath.Join(list[0].bin, s)).CombinedOutput()
		require.NoError(t, err)
		require.Equal(t, "old "+s+"\n", string(said))
	}
	require.NoError(t, remove())
	require.NoDirExists(t, filepath.Dir(list[0].bin))
	worktrees, err := output(t.Context(), root, "git", "worktree", "list")
	require.NoError(t, err)
	require.NotContains(t, worktrees, "\n")

	for _, bad := range []string{"HEAD", "nonsense"} { // one that cannot be built, and one that does not exist
		_, _, err = builds(context.Background(), Options{Root: root, Bin: bin, Against: bad}, io.Discard)
		require.Error(t, err)
	}
	worktrees, err = output(t.Context(), root, "git", "worktree", "list")
	require.NoError(t, err)
	require.NotContains(t, worktrees, "\n", "nothing is left behind")
}
