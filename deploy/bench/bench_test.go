package bench

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/load/measure"
	"github.com/sealpost/sealpost/pkg/load/report"
)

func TestMediansOfAllRunsArePrinted(t *testing.T) {
	table := &table{}
	for _, v := range []float64{3, 1, 200} {
		table.add("x", v, "ms")
	}
	table.add("y", 0.25, "ms")
	table.add("y", 0.75, "ms")
	var out strings.Builder
	require.NoError(t, table.write(&out))
	lines := strings.Split(out.String(), "\n")
	require.Equal(t, []string{"3", "1", "200", "ms", "x"}, strings.Fields(lines[1]))
	require.Equal(t, []string{"0.500", "0.250", "0.750", "ms", "y"}, strings.Fields(lines[2]))
}

func TestTheResultsOfGoBenchmarksAreRead(t *testing.T) {
	table := &table{}
	require.NoError(t, readBenchmarks("./pkg/x", []byte("goos: linux\nBenchmarkAppend/recipients=20-2  10  1500 ns/op  7 sends/s  64 B/op  3 allocs/op\nPASS\n"), table))
	require.Len(t, table.rows, 3)
	require.Equal(t, &row{"pkg/x Append/recipients=20", "ns/op", []float64{1500}}, table.rows[0])
}

func TestOfAReportTheWantedRowsAreTaken(t *testing.T) {
	r := &report.Report{Latencies: []measure.Summary{{Name: "send", Percentiles: []measure.Percentile{{Percent: 99, Millis: 4}}}}}
	r.Figure("a", 1, "/s")
	r.Figure("b", 2, "/s")
	table := &table{}
	scenario{name: "s", figures: []string{"b"}, latencies: []string{"send"}}.rows(r, table)
	require.Equal(t, &row{"s: b", "/s", []float64{2}}, table.rows[0])
	require.Equal(t, &row{"s: send p99", "ms", []float64{4}}, table.rows[2])
}
