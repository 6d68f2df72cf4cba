// Package report formats the result of a load test: as text, as JSON, and as a page with plots.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sealpost/sealpost/deploy/test/load/check"
	"github.com/sealpost/sealpost/deploy/test/load/measure"
)

// Report is the result of a load test.
type Report struct {
	Scenario string    `json:"scenario"`
	Target   []string  `json:"target"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"`
	Settings []Setting `json:"settings"`
	Figures  []Figure  `json:"figures"`
	// Latencies are in milliseconds; those of an open loop count from the scheduled moment.
	Latencies []measure.Summary `json:"latencies,omitempty"`
	// Statuses counts the answers by request and status.
	Statuses map[string]int64 `json:"statuses"`
	// Check is the verdict on the messages, if any were sent.
	Check *check.Verdict `json:"check,omitempty"`
	// Faults are other problems.
	Faults []string `json:"faults,omitempty"`
}

// Setting is one setting of the test.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Figure is one measured number.
type Figure struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
}

// Figure adds a figure.
func (r *Report) Figure(name string, value float64, unit string) {
	r.Figures = append(r.Figures, Figure{name, value, unit})
}

// Fault adds a fault.
func (r *Report) Fault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

// Value returns a figure's value, if it was measured.
func (r *Report) Value(name string) (float64, bool) {
	for _, f := range r.Figures {
		if f.Name == name {
			return f.Value, true
		}
	}
	return 0, false
}

// Latency returns a summary by name; an empty one if it does not exist.
func (r *Report) Latency(name string) measure.Summary {
	for _, s := range r.Latencies {
		if s.Name == name {
			return s
		}
	}
	return measure.Summary{}
}

// Passed reports whether nothing was wrong.
func (r *Report) Passed() bool { return len(r.Faults) == 0 && (r.Check == nil || r.Check.OK()) }

// WriteJSON writes the report as JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	return out.Encode(r)
}

// shown are the percentiles in the text.
var shown = []float64{50, 90, 99, 99.9}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	settings := make([]string, len(r.Settings))
	for i, s := range r.Settings {
		settings[i] = s.Name + " " + s.Value
	}
	fmt.Fprintf(&b, "%s on %s: %s\n\n", r.Scenario, strings.Join(r.Target, ", "), strings.Join(settings, ", "))
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range r.Figures {
		_, _ = fmt.Fprintf(table, "%s\t%s\n", f.Name, f)
	}
	_ = table.Flush()
	if len(r.Latencies) > 0 {
		fmt.Fprint(&b, "\n")
		r.latencies(&b)
	}
	fmt.Fprintf(&b, "\nanswers: %s\n", r.statuses())
	if r.Check != nil {
		fmt.Fprintf(&b, "%s\n", r.Check)
		for _, e := range r.Check.Examples {
			fmt.Fprintf(&b, "  %s\n", e)
		}
	}
	for _, f := range r.Faults {
		fmt.Fprintf(&b, "WRONG: %s\n", f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Report) latencies(b *strings.Builder) {
	table := tabwriter.NewWriter(b, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprint(table, "ms\tcount\t")
	for _, p := range shown {
		_, _ = fmt.Fprintf(table, "p%g\t", p)
	}
	_, _ = fmt.Fprint(table, "max\t\n")
	for _, s := range r.Latencies {
		_, _ = fmt.Fprintf(table, "%s\t%d\t", s.Name, s.Count)
		for _, p := range shown {
			_, _ = fmt.Fprintf(table, "%.2f\t", s.At(p))
		}
		_, _ = fmt.Fprintf(table, "%.2f\t\n", s.Max)
	}
	_ = table.Flush()
}

func (r *Report) statuses() string {
	list := make([]string, 0, len(r.Statuses))
	for _, key := range slices.SortedFunc(maps.Keys(r.Statuses), cmp.Compare[string]) {
		list = append(list, fmt.Sprintf("%d × %s", r.Statuses[key], key))
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// String is the value with its unit.
func (f Figure) String() string {
	digits := 0
	if f.Value < 100 && f.Value != float64(int64(f.Value)) {
		digits = 2
	}
	return strings.TrimSpace(fmt.Sprintf("%.*f %s", digits, f.Value, f.Unit))
}
