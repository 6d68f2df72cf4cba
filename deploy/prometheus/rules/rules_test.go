package rules_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sealpost/sealpost/deploy/prometheus/catalogue"
	"github.com/sealpost/sealpost/deploy/prometheus/rules"
)

const (
	runbooks    = "../../runbooks"
	runbookURL  = "https://github.com/sealpost/sealpost/blob/main/deploy/runbooks/"
	metricsFile = "../../METRICS.md"
)

func load(t *testing.T) []rules.Group {
	groups, err := rules.Load()
	require.NoError(t, err)
	return groups
}

// alerts runs f as a subtest for each alert.
func alerts(t *testing.T, f func(t *testing.T, r rules.Rule)) {
	for _, g := range load(t) {
		for _, r := range g.Rules {
			if r.Alert != "" {
				t.Run(r.Alert, func(t *testing.T) { f(t, r) })
			}
		}
	}
}

func TestEachAlertSaysHowBadWhatAndWhatToDo(t *testing.T) {
	seen := map[string]bool{}
	alerts(t, func(t *testing.T, r rules.Rule) {
		require.False(t, seen[r.Alert], "two have this name")
		seen[r.Alert] = true
		require.Contains(t, []string{"critical", "warning"}, r.Labels["severity"])
		for _, a := range []string{"summary", "description"} {
			require.NotEmpty(t, r.Annotations[a], a)
		}
		require.Equal(t, runbookURL+r.Alert+".md", r.Annotations["runbook_url"])
		require.FileExists(t, filepath.Join(runbooks, r.Alert+".md"))
	})
}

// promtoolTests returns the alerts that promtool's test files expect to fire, and to be quiet.
func promtoolTests(t *testing.T) (fires, quiet map[string]bool) {
	fires, quiet = map[string]bool{}, map[string]bool{}
	names, err := filepath.Glob("../tests/*.yaml")
	require.NoError(t, err)
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		var file struct {
			Tests []struct {
				Alerts []struct {
					Name     string `yaml:"alertname"`
					Expected []any  `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			} `yaml:"tests"`
		}
		require.NoError(t, yaml.Unmarshal(text, &file), name)
		for _, test := range file.Tests {
			for _, a := range test.Alerts {
				if len(a.Expected) > 0 {
					fires[a.Name] = true
				} else {
					quiet[a.Name] = true
				}
			}
		}
	}
	return fires, quiet
}

func TestEachAlertIsTestedForFiringAndForKeepingQuiet(t *testing.T) {
	fires, quiet := promtoolTests(t)
	known := map[string]bool{}
	alerts(t, func(t *testing.T, r rules.Rule) {
		known[r.Alert] = true
		require.True(t, fires[r.Alert], "no promtool test has it fire")
		require.True(t, quiet[r.Alert], "no promtool test has it keep quiet")
	})
	for _, tested := range []map[string]bool{fires, quiet} {
		for name := range tested {
			require.True(t, known[name], "the promtool tests know %s, which is no alert", name)
		}
	}
}

func TestRulesAskOnlyForWhatTheServicesTell(t *testing.T) {
	table, err := catalogue.Read(metricsFile)
	require.NoError(t, err)
	groups := load(t)
	for _, g := range groups {
		for _, r := range g.Rules {
			require.NoError(t, table.CheckQuery(r.Expr, rules.Recorded(groups)), r.Alert+r.Record)
		}
	}
}

// TestAServiceIsMissedByWhatOnlyItTells: a metric that another service tells too would hide that it is gone.
func TestAServiceIsMissedByWhatOnlyItTells(t *testing.T) {
	table, err := catalogue.Read(metricsFile)
	require.NoError(t, err)
	asked := regexp.MustCompile(`absent\((\w+)\), "service", "([\w-]+)"`)
	missed := map[string]string{}
	alerts(t, func(_ *testing.T, r rules.Rule) {
		for _, found := range asked.FindAllStringSubmatch(r.Expr, -1) {
			missed[found[2]] = found[1]
		}
	})
	for _, service := range catalogue.Services() {
		require.Equal(t, []string{service, catalogue.Standalone}, table[missed[service]].Where, "%s by %s", service, missed[service])
	}
}

func TestEachRunbookHelps(t *testing.T) {
	table, err := catalogue.Read(metricsFile)
	require.NoError(t, err)
	alerting := map[string]bool{}
	alerts(t, func(_ *testing.T, r rules.Rule) { alerting[r.Alert+".md"] = true })
	recorded := rules.Recorded(load(t))
	list, err := filepath.Glob(filepath.Join(runbooks, "Sealpost*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, list)
	for _, file := range list {
		t.Run(filepath.Base(file), func(t *testing.T) {
			require.True(t, alerting[filepath.Base(file)], "no alert has this name")
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(text), "# "+strings.TrimSuffix(filepath.Base(file), ".md")+"\n"))
			rest := string(text)
			for _, heading := range []string{"## Meaning", "## What users feel", "## What to look at", "## What to do"} {
				_, after, found := strings.Cut(rest, "\n"+heading+"\n\n")
				require.True(t, found, heading)
				rest = after
			}
			require.Contains(t, rest+string(text), "\n```", "commands")
			for _, query := range queries(t, string(text)) {
				require.NoError(t, table.CheckQuery(query, recorded))
			}
		})
	}
}

// queries are the lines of the PromQL blocks in a page.
func queries(t *testing.T, page string) []string {
	var list []string
	for {
		_, after, found := strings.Cut(page, "```promql\n")
		if !found {
			return list
		}
		block, rest, closed := strings.Cut(after, "\n```")
		require.True(t, closed)
		list, page = append(list, strings.Split(block, "\n")...), rest
	}
}

func TestEveryExpressionParses(t *testing.T) {
	for _, g := range load(t) {
		for _, r := range g.Rules {
			_, err := parser.NewParser(parser.Options{}).ParseExpr(r.Expr)
			require.NoError(t, err, r.Alert+r.Record)
		}
	}
}
