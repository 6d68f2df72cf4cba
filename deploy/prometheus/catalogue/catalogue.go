// Package catalogue parses the table of metrics, deploy/METRICS.md, and compares it with the metrics that processes expose and that queries
// use.
package catalogue

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Standalone is the process with all services.
const Standalone = "standalone"

// Services returns the four services.
func Services() []string { return []string{"auth", "keys", "messages", "poll-gateway"} }

// Metric is a row of the table.
type Metric struct {
	Name, Type string
	// Labels are the allowed values of each label; nil where only the code bounds them.
	Labels map[string][]string
	// Where are the processes that expose it.
	Where   []string
	Meaning string
}

// Catalogue is the rows by name.
type Catalogue map[string]Metric

// prefixes are those of metrics that libraries define.
var prefixes = []string{"go_", "process_", "promhttp_"}

// IsRuntime reports whether a metric belongs to the Go runtime, the process or the metrics endpoint.
func IsRuntime(name string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// Read parses the table in a file.
func Read(file string) (Catalogue, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return Parse(string(text))
}

// Parse parses the table in a text.
func Parse(text string) (Catalogue, error) {
	c := Catalogue{}
	var faults []error
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		m, err := parseRow(strings.TrimSpace(line))
		if _, twice := c[m.Name]; err == nil && twice {
			err = errors.New("it is there twice")
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", strings.TrimSpace(line), err))
		}
		c[m.Name] = m
	}
	if len(c) == 0 {
		faults = append(faults, errors.New("there is no table of metrics"))
	}
	return c, errors.Join(faults...)
}

// labelPattern matches a label of a row: its name, and its allowed values.
var labelPattern = regexp.MustCompile("`([a-z_]+)`(?: \\(([^)]*)\\))?")

func parseRow(line string) (Metric, error) {
	cells := strings.Split(strings.Trim(line, "|"), "|")
	if len(cells) != 5 {
		return Metric{}, fmt.Errorf("it has %d columns", len(cells))
	}
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	m := Metric{Name: strings.Trim(cells[0], "`"), Type: cells[1], Labels: map[string][]string{}, Meaning: cells[4]}
	for _, match := range labelPattern.FindAllStringSubmatch(cells[2], -1) {
		m.Labels[match[1]] = nil
		if match[2] != "" {
			m.Labels[match[1]] = strings.Split(match[2], ", ")
		}
	}
	switch cells[3] {
	case "all":
		m.Where = append(Services(), Standalone)
	case "services":
		m.Where = Services()
	default:
		m.Where = strings.Split(cells[3], ", ")
	}
	for _, w := range m.Where {
		if w != Standalone && !slices.Contains(Services(), w) {
			return m, fmt.Errorf("there is no process %q", w)
		}
	}
	if m.Meaning == "" {
		return m, errors.New("it has no meaning")
	}
	return m, nil
}

// Check compares a process's /metrics, in Prometheus's text format, with the table, and reports every difference.
func (c Catalogue) Check(process string, metrics io.Reader) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(metrics)
	if err != nil {
		return err
	}
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if IsRuntime(name) {
			continue
		}
		m, documented := c[name]
		if !documented || !slices.Contains(m.Where, process) {
			faults = append(faults, fmt.Errorf("%s tells %s, which the table does not say", process, name))
			continue
		}
		faults = append(faults, m.compare(families[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		if families[name] == nil && slices.Contains(c[name].Where, process) {
			faults = append(faults, fmt.Errorf("%s does not tell %s, which the table says it does", process, name))
		}
	}
	return errors.Join(faults...)
}

// compare compares type, labels and their values.
func (m Metric) compare(f *dto.MetricFamily) error {
	var faults []error
	if told := strings.ToLower(f.GetType().String()); told != m.Type {
		faults = append(faults, fmt.Errorf("%s is a %s, and the table says %s", m.Name, told, m.Type))
	}
	for _, series := range f.GetMetric() {
		for _, l := range series.GetLabel() {
			values, documented := m.Labels[l.GetName()]
			switch {
			case !documented:
				faults = append(faults, fmt.Errorf("%s has the label %s, which the table does not say", m.Name, l.GetName()))
			case values != nil && !slices.Contains(values, l.GetValue()):
				faults = append(faults, fmt.Errorf("%s has %s=%q, which the table does not say", m.Name, l.GetName(), l.GetValue()))
			}
		}
		if len(series.GetLabel()) < len(m.Labels) {
			faults = append(faults, fmt.Errorf("%s has the labels %v, and the table says %v", m.Name, series.GetLabel(), slices.Sorted(maps.Keys(m.Labels))))
		}
	}
	return errors.Join(faults...)
}
