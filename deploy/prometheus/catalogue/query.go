package catalogue

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// targetLabels are the labels that Prometheus or its configuration adds to every series.
var targetLabels = []string{"cluster", "namespace", "job", "instance"}

// ownSeries are the series that Prometheus itself makes, with their labels besides a target's.
var ownSeries = map[string][]string{"up": nil, "ALERTS": {"alertname", "alertstate", "severity"}}

// runtimeLabels are the labels that the metrics of the Go runtime and the process may have.
var runtimeLabels = []string{"quantile", "version", "le", "code", "cause"}

// CheckQuery requires that a PromQL query names only metrics of the table or of recorded, and only their labels. recorded are the names of
// recording rules, whose labels are the ones before the colon.
func (c Catalogue) CheckQuery(query string, recorded []string) error {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf(format+" in %s", append(args, query)...))
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			known, err := c.labelsOf(n.Name, recorded)
			if err != nil {
				fault("%w", err)
				return nil
			}
			for _, m := range n.LabelMatchers {
				if m.Name != model.MetricNameLabel && !slices.Contains(known, m.Name) {
					fault("%s has no label %s", n.Name, m.Name)
				}
				if !c.mayBe(n.Name, m) {
					fault("%s never has %s", n.Name, m)
				}
			}
		case *parser.AggregateExpr:
			c.checkNames(n.Grouping, n.Expr, recorded, fault)
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				c.checkNames(n.VectorMatching.MatchingLabels, n, recorded, fault)
			}
		}
		return nil
	})
	return errors.Join(faults...)
}

// checkNames requires that each label belongs to one of the series below an expression.
func (c Catalogue) checkNames(names []string, below parser.Expr, recorded []string, fault func(string, ...any)) {
	var known []string
	parser.Inspect(below, func(node parser.Node, _ []parser.Node) error {
		if v, ok := node.(*parser.VectorSelector); ok {
			of, err := c.labelsOf(v.Name, recorded)
			if err == nil {
				known = append(known, of...)
			}
		}
		return nil
	})
	for _, name := range names {
		if !slices.Contains(known, name) {
			fault("nothing has the label %s", name)
		}
	}
}

// row returns the row of a series.
func (c Catalogue) row(series string) (m Metric, ok bool) {
	if m, ok = c[series]; ok && m.Type != "histogram" {
		return m, true
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if name, is := strings.CutSuffix(series, suffix); is && c[name].Type == "histogram" {
			return c[name], true
		}
	}
	return Metric{}, false
}

// labelsOf returns the labels that a series may have.
func (c Catalogue) labelsOf(series string, recorded []string) ([]string, error) {
	if own, ok := ownSeries[series]; ok {
		return append(slices.Clone(targetLabels), own...), nil
	}
	switch {
	case slices.Contains(recorded, series):
		level, _, _ := strings.Cut(series, ":")
		return strings.Split(level, "_"), nil
	case IsRuntime(series):
		return append(slices.Clone(targetLabels), runtimeLabels...), nil
	}
	m, ok := c.row(series)
	if !ok {
		return nil, fmt.Errorf("there is no metric %s", series)
	}
	known := slices.Clone(targetLabels)
	for name := range m.Labels {
		known = append(known, name)
	}
	if strings.HasSuffix(series, "_bucket") {
		known = append(known, labels.BucketLabel)
	}
	return known, nil
}

// mayBe reports whether a matcher matches a value that the table allows for its label.
func (c Catalogue) mayBe(series string, m *labels.Matcher) bool {
	row, _ := c.row(series)
	values := row.Labels[m.Name]
	return values == nil || slices.ContainsFunc(values, m.Matches)
}
