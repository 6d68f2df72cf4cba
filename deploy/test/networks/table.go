package networks

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
)

// Table collects results and prints them, a row for each path and a column for each client. It may be used concurrently.
type Table struct {
	mu      sync.Mutex
	results map[[2]string]Result
}

// Set records the result of a cell.
func (t *Table) Set(path, client string, r Result) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.results == nil {
		t.results = map[[2]string]Result{}
	}
	t.results[[2]string{path, client}] = r
}

// Print prints the rows and columns in which something is.
func (t *Table) Print(w io.Writer, paths []Path, clients []Client) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows, columns := map[string]bool{}, map[string]bool{}
	for at := range t.results {
		rows[at[0]], columns[at[1]] = true, true
	}
	out := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	header := []string{"path"}
	for _, c := range clients {
		if columns[c.Name] {
			header = append(header, c.Name)
		}
	}
	_, _ = fmt.Fprintln(out, strings.Join(header, "\t"))
	for _, p := range paths {
		if !rows[p.Name] {
			continue
		}
		line := []string{p.Name}
		for _, c := range clients {
			if columns[c.Name] {
				line = append(line, t.cell(p.Name, c.Name))
			}
		}
		_, _ = fmt.Fprintln(out, strings.Join(line, "\t"))
	}
	_, _ = fmt.Fprintln(out, "deliveries / repeats / worst delay; ! failed, - not run")
	return out.Flush()
}

func (t *Table) cell(path, client string) string {
	r, there := t.results[[2]string{path, client}]
	if !there || r.Skipped != "" {
		return "-"
	}
	text := fmt.Sprintf("%d/%d/%s", r.Delivered, r.Repeated, short(r.Worst))
	if len(r.Faults) > 0 {
		text += " !"
	}
	return text
}

// short prints a delay with two or three digits.
func short(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
