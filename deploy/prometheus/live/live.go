// Package live sends all queries of the dashboards and the rules to a running Prometheus.
package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/promql/parser"

	"github.com/sealpost/sealpost/deploy/prometheus/dashboards"
	"github.com/sealpost/sealpost/deploy/prometheus/rules"
)

// Prometheus is a server's API.
type Prometheus struct {
	// URL is its address, such as http://127.0.0.1:9090.
	URL string
	// Client is nil for the default one.
	Client *http.Client
}

// Sample is one series of an answer.
type Sample struct {
	Labels map[string]string `json:"metric"`
	// Value is the time and the number, as a string.
	Value [2]any `json:"value"`
}

// String is the series and its value.
func (s Sample) String() string {
	var labels []string
	for name, value := range s.Labels {
		labels = append(labels, fmt.Sprintf("%s=%q", name, value))
	}
	slices.Sort(labels)
	return fmt.Sprintf("%v {%s}", s.Value[1], strings.Join(labels, ", "))
}

// get requests a path of the API and decodes the data of the answer.
func (p Prometheus) get(ctx context.Context, path string, query url.Values, data any) (err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.URL+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	client := p.Client
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, res.Body.Close()) }()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %w", res.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", res.Status, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// Query returns the current value of an expression; a scalar is a series without labels.
func (p Prometheus) Query(ctx context.Context, expr string) ([]Sample, error) {
	var data struct {
		ResultType string
		Result     json.RawMessage
	}
	if err := p.get(ctx, "/api/v1/query", url.Values{"query": {expr}}, &data); err != nil {
		return nil, err
	}
	if data.ResultType != "vector" {
		return nil, fmt.Errorf("the answer is a %s", data.ResultType)
	}
	var samples []Sample
	return samples, json.Unmarshal(data.Result, &samples)
}

// Rule is the state of a rule on the server.
type Rule struct {
	Name, Health, LastError, State string
}

// Rules returns all rules that the server has loaded.
func (p Prometheus) Rules(ctx context.Context) ([]Rule, error) {
	var data struct {
		Groups []struct{ Rules []Rule }
	}
	err := p.get(ctx, "/api/v1/rules", nil, &data)
	var list []Rule
	for _, g := range data.Groups {
		list = append(list, g.Rules...)
	}
	return list, err
}

// Check runs every query of every panel and of every rule, and prints the answers. It returns an error if a query fails; if a panel or a
// recording rule gives nothing; if an alert uses a series that does not exist; or if the server has not loaded a rule, or failed to
// evaluate it. An alert that gives nothing is correct.
func Check(ctx context.Context, prometheusURL string, w io.Writer) error {
	c := &check{Prometheus: Prometheus{URL: strings.TrimRight(prometheusURL, "/")}, ctx: ctx, w: w}
	for _, d := range dashboards.All() {
		c.print("dashboard %s", d.Title)
		for _, row := range d.Rows {
			c.print("  %s", row.Title)
			for _, p := range row.Panels {
				c.print("    %s [%s]", p.Title, p.Unit)
				for _, q := range p.Queries {
					c.ask(d.UID+": "+row.Title+": "+p.Title, q.PromQL(), true)
				}
			}
		}
	}
	groups, err := rules.Load()
	if err != nil {
		return err
	}
	for _, g := range groups {
		c.print("rules %s: %s", g.File, g.Name)
		for _, r := range g.Rules {
			c.rule(r)
		}
	}
	c.loaded(groups)
	c.print("%d queries, %d of them wrong", c.queries, len(c.faults))
	return errors.Join(c.faults...)
}

// check is one run of Check.
type check struct {
	Prometheus
	ctx     context.Context //nolint:containedctx // it lives as long as the call
	w       io.Writer
	queries int
	faults  []error
}

func (c *check) print(format string, args ...any) { _, _ = fmt.Fprintf(c.w, format+"\n", args...) }

// shown is the number of series of an answer to print.
const shown = 4

// ofStandalone reports whether a query is about something that only the standalone server has. A cluster's answer to it is empty.
func ofStandalone(expr string) bool {
	return strings.Contains(expr, `engine="pebble"`) || strings.Contains(expr, "sealpost_store_disk_")
}

// ask runs one query and prints it with the first series of its answer.
func (c *check) ask(what, expr string, needed bool) {
	c.queries++
	c.print("      %s", strings.Join(strings.Fields(expr), " "))
	samples, err := c.Query(c.ctx, expr)
	if err == nil && needed && len(samples) == 0 && !ofStandalone(expr) {
		err = errors.New("nothing is answered")
	}
	if err != nil {
		c.print("        %v", err)
		c.faults = append(c.faults, fmt.Errorf("%s: %s: %w", what, expr, err))
	}
	for i, s := range samples {
		if i == shown {
			c.print("        … and %d more", len(samples)-shown)
			break
		}
		c.print("        %s", s)
	}
}

// rule runs a rule's expression and, for an alert, a query for each series in it.
func (c *check) rule(r rules.Rule) {
	if r.Record != "" {
		c.print("    records %s", r.Record)
		c.ask(r.Record, r.Expr, true)
		return
	}
	c.print("    alert %s", r.Alert)
	c.ask(r.Alert, r.Expr, false)
	for _, selector := range selectors(r.Expr) {
		c.ask(r.Alert, "count("+selector+")", true)
	}
}

// selectors returns the different series in an expression.
func selectors(expr string) []string {
	parsed, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return nil // Prometheus has reported that
	}
	var list []string
	parser.Inspect(parsed, func(node parser.Node, _ []parser.Node) error {
		if v, ok := node.(*parser.VectorSelector); ok && !slices.Contains(list, v.String()) {
			list = append(list, v.String())
		}
		return nil
	})
	return list
}

// loaded requires that the server evaluates all rules.
func (c *check) loaded(groups []rules.Group) {
	list, err := c.Rules(c.ctx)
	if err != nil {
		c.faults = append(c.faults, err)
		return
	}
	health := map[string]Rule{}
	for _, r := range list {
		health[r.Name] = r
	}
	for _, g := range groups {
		for _, r := range g.Rules {
			name := r.Record + r.Alert
			if has, ok := health[name]; !ok || has.Health != "ok" {
				c.faults = append(c.faults, fmt.Errorf("rule %s is not evaluated: %s %s", name, has.Health, has.LastError))
			}
		}
	}
	c.print("%d rules are evaluated", len(list))
}
