package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// hotPaths are the packages whose benchmarks are run: append and read after a cursor, the store below them, token
// checks, the event of a message, from an event to the answered poll, and the framing of an answer.
var hotPaths = []string{
	"./pkg/inbox", "./pkg/store/pebble", "./pkg/token", "./pkg/delivery",
	"./services/poll-gateway/internal/gateway", "./services/poll-gateway/internal/httpapi",
}

// shown are the units that are worth a row.
var shown = map[string]bool{"ns/op": true, "allocs/op": true, "sends/s": true, "deliveries/s": true, "entries/s": true}

// benchmarks runs the Go benchmarks once.
func benchmarks(ctx context.Context, o Options, t *table, say func(string)) error {
	for _, path := range hotPaths {
		say("benchmarks of " + path)
		cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", ".", "-benchtime", o.BenchTime.String(), path) //nolint:gosec // ours
		cmd.Dir, cmd.Stderr = o.Root, os.Stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("benchmarks of %s: %w\n%s", path, err, out)
		}
		if err := readBenchmarks(path, out, t); err != nil {
			return err
		}
	}
	return nil
}

func readBenchmarks(path string, out []byte, t *table) error {
	results := benchfmt.NewReader(bytes.NewReader(out), path)
	for results.Scan() {
		r, ok := results.Result().(*benchfmt.Result)
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(string(r.Name), "-") // what follows is the number of processors
		for _, v := range r.Values {
			value, unit := v.Value, v.Unit
			if v.OrigUnit != "" { // benchfmt makes seconds of nanoseconds
				value, unit = v.OrigValue, v.OrigUnit
			}
			if shown[unit] {
				t.add(strings.TrimPrefix(path, "./")+" "+name, value, unit)
			}
		}
	}
	return results.Err()
}
