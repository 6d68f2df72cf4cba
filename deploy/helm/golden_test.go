package helm

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// updating reports whether to write the files instead of comparing them: make generate
func updating() bool { return os.Getenv("SEALPOST_UPDATE") != "" }

// madeKey is the key that Helm generates for development, different each time.
var madeKey = regexp.MustCompile(`(?m)^(  signing\.pem: ).*$`)

// TestTheChartRendersAsItDid shows in a review what a change of the chart changes.
func TestTheChartRendersAsItDid(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		var out bytes.Buffer
		for _, d := range r.documents {
			out.WriteString("---\n# " + d.template + "\n" + madeKey.ReplaceAllString(d.text, "${1}MADE"))
		}
		out.WriteString("---\n# NOTES.txt\n" + commented(r.notes))
		golden := filepath.Join("testdata", "golden", filepath.Base(t.Name())+".yaml")
		if updating() {
			require.NoError(t, os.WriteFile(golden, out.Bytes(), 0o600))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		require.Equal(t, string(want), out.String(), "make generate writes it anew")
	})
}

// commented makes text a YAML comment.
func commented(text string) string {
	lines := bytes.Split(bytes.TrimSpace([]byte(text)), []byte("\n"))
	return "# " + string(bytes.Join(lines, []byte("\n# "))) + "\n"
}

// TestTheChartHoldsTheRulesAndDashboards: the chart has exact copies of those in deploy/prometheus and deploy/grafana, and nothing else, as
// Helm reads no file outside a chart.
func TestTheChartHoldsTheRulesAndDashboards(t *testing.T) {
	for _, c := range []struct{ from, to, pattern string }{
		{"../prometheus/rules", "files/rules", "*.yaml"},
		{"../grafana/dashboards", "files/dashboards", "*.json"},
	} {
		to := filepath.Join(chartDir, c.to)
		if updating() {
			require.NoError(t, os.RemoveAll(to))
			require.NoError(t, os.MkdirAll(to, 0o750))
			for name, text := range contents(t, c.from, c.pattern) {
				require.NoError(t, os.WriteFile(filepath.Join(to, name), []byte(text), 0o600))
			}
		}
		want, got := contents(t, c.from, c.pattern), contents(t, to, c.pattern)
		require.Equal(t, want, got, "make generate copies %s", c.from)
	}
}

func contents(t *testing.T, dir, pattern string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	files := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		files[filepath.Base(path)] = string(text)
	}
	return files
}
