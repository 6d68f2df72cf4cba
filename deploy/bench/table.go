package bench

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// table collects what was measured, by name, in the order in which the names come first.
type table struct {
	rows []*row
}

// row is one thing that was measured again and again.
type row struct {
	name, unit string
	values     []float64
}

func (t *table) add(name string, value float64, unit string) {
	for _, r := range t.rows {
		if r.name == name && r.unit == unit {
			r.values = append(r.values, value)
			return
		}
	}
	t.rows = append(t.rows, &row{name, unit, []float64{value}})
}

func (t *table) write(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprint(w, "median\tlowest\thighest\tunit\t what\n")
	for _, r := range t.rows {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t %s\n", number(median(r.values)), number(slices.Min(r.values)), number(slices.Max(r.values)), r.unit, r.name)
	}
	return w.Flush()
}

// median is the middle one, or the mean of the middle two.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// number has about three digits that mean something.
func number(v float64) string {
	switch {
	case v >= 100 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
}
