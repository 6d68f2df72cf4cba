package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// hotPaths are the packages whose benchmarks run: append and read after a cursor, the store below them, token checks, the event of a
// message, from an event to the answered poll, and the framing of an answer.
var hotPaths = []string{
	"./pkg/inbox", "./pkg/store/pebble", "./pkg/token", "./pkg/delivery",
	"./services/poll-gateway/internal/gateway", "./services/poll-gateway/internal/httpapi",
}

// shown are the units that get a row.
var shown = map[string]bool{"ns/op": true, "allocs/op": true, "sends/s": true, "deliveries/s": true, "entries/s": true}

// benchmarks runs the Go benchmarks of each build once, as far as the build has them.
func (m *measurement) benchmarks(ctx context.Context) error {
	for _, path := range hotPaths {
		m.say("benchmarks of " + path)
		for i, b := range m.builds {
			if _, err := os.Stat(filepath.Join(b.root, path)); err != nil {
				continue
			}
			out, err := output(ctx, b.root, "go", "test", "-run", "^$", "-bench", ".", "-benchtime", m.BenchTime.String(), path)
			if err != nil {
				return fmt.Errorf("benchmarks of %s: %w", path, err)
			}
			if err := readBenchmarks(i, path, out, m.table); err != nil {
				return err
			}
		}
	}
	return nil
}

func readBenchmarks(build int, path, out string, t *table) error {
	results := benchfmt.NewReader(strings.NewReader(out), path)
	for results.Scan() {
		r, ok := results.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(string(r.Name), "-") // the suffix is the number of processors
		for _, v := range r.Values {
			value, unit := v.Value, v.Unit
			if v.OrigUnit != "" { // benchfmt converts nanoseconds to seconds
				value, unit = v.OrigValue, v.OrigUnit
			}
			if shown[unit] {
				t.add(build, strings.TrimPrefix(path, "./"), name, value, unit)
			}
		}
	}
	return results.Err()
}
