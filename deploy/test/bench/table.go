package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// table collects measurements by scenario and name, in the order of their first values.
type table struct {
	// builds are the names of the measured builds: one, or an earlier one and today's.
	builds []string
	rows   []*row
}

// row is one repeated measurement in a scenario, of each build.
type row struct {
	scenario, name, unit string
	values               [][]float64
}

func newTable(list []build) *table {
	t := &table{}
	for _, b := range list {
		t.builds = append(t.builds, b.name)
	}
	return t
}

// add adds a value of a build, by its index.
func (t *table) add(build int, scenario, name string, value float64, unit string) {
	i := slices.IndexFunc(t.rows, func(r *row) bool { return r.scenario == scenario && r.name == name && r.unit == unit })
	if i < 0 {
		i = len(t.rows)
		t.rows = append(t.rows, &row{scenario, name, unit, make([][]float64, len(t.builds))})
	}
	t.rows[i].values[build] = append(t.rows[i].values[build], value)
}

func (t *table) write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	columns := 1
	for _, name := range t.builds {
		if len(t.builds) > 1 {
			_, _ = fmt.Fprintf(w, "%s: ", name)
		}
		_, _ = fmt.Fprint(w, "median\tlowest\thighest\t")
		columns += 3
	}
	if len(t.builds) > 1 {
		_, _ = fmt.Fprintf(w, "%s/%s\t", t.builds[1], t.builds[0])
		columns++
	}
	_, _ = fmt.Fprint(w, "unit\t what\n")
	scenario := ""
	for _, r := range t.rows {
		if r.scenario != scenario {
			scenario = r.scenario
			_, _ = fmt.Fprintf(w, "%s %s\n", strings.Repeat("\t", columns), scenario)
		}
		_, _ = fmt.Fprintf(w, "%s%s\t   %s\n", r.cells(), r.unit, r.name)
	}
	return w.Flush()
}

// cells are the measurements of each build and, if there are two, the ratio.
func (r *row) cells() string {
	var b strings.Builder
	for _, values := range r.values {
		if len(values) == 0 {
			b.WriteString("-\t-\t-\t")
			continue
		}
		fmt.Fprintf(&b, "%s\t%s\t%s\t", number(median(values)), number(slices.Min(values)), number(slices.Max(values)))
	}
	if len(r.values) > 1 {
		b.WriteString(r.ratio() + "\t")
	}
	return b.String()
}

// ratio is today's median divided by the earlier one.
func (r *row) ratio() string {
	if len(r.values[0]) == 0 || len(r.values[1]) == 0 || median(r.values[0]) == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", median(r.values[1])/median(r.values[0]))
}

// median is the middle value, or the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// number formats v with about three significant digits.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
