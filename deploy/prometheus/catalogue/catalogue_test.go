package catalogue_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/prometheus/catalogue"
)

const table = `
| Metric | Type | Labels | Where | Meaning |
| --- | --- | --- | --- | --- |
| ` + "`sealpost_a_total`" + ` | counter | ` + "`kind` (one, two), `route`" + ` | auth | A. |
| ` + "`sealpost_b_seconds`" + ` | histogram | | all | B. |
`

const told = `
# TYPE sealpost_a_total counter
sealpost_a_total{kind="one",route="/x"} 1
# TYPE sealpost_b_seconds histogram
sealpost_b_seconds_bucket{le="+Inf"} 0
sealpost_b_seconds_sum 0
sealpost_b_seconds_count 0
# TYPE go_goroutines gauge
go_goroutines 1
`

func parse(t *testing.T) catalogue.Catalogue {
	c, err := catalogue.Parse(table)
	require.NoError(t, err)
	return c
}

func TestWhatIsToldIsComparedBothWays(t *testing.T) {
	c := parse(t)
	require.NoError(t, c.Check("auth", strings.NewReader(told)))
	for _, difference := range []struct{ process, old, new, fault string }{
		{"keys", "", "", "keys tells sealpost_a_total, which the table does not say"},
		{"auth", "sealpost_a_total", "sealpost_c_total", "auth tells sealpost_c_total, which the table does not say"},
		{"auth", "sealpost_a_total", "sealpost_c_total", "auth does not tell sealpost_a_total, which the table says it does"},
		{"auth", "a_total counter", "a_total gauge", "sealpost_a_total is a gauge, and the table says counter"},
		{"auth", `kind="one"`, `kind="three"`, `sealpost_a_total has kind="three", which the table does not say`},
		{"auth", `kind="one",`, "", "the table says [kind route]"},
		{"auth", "route=", "user=", "sealpost_a_total has the label user, which the table does not say"},
	} {
		text := told
		if difference.old != "" {
			text = strings.ReplaceAll(told, difference.old, difference.new)
		}
		require.ErrorContains(t, c.Check(difference.process, strings.NewReader(text)), difference.fault)
	}
}

func TestAQueryNamesOnlyWhatTheTableHas(t *testing.T) {
	c := parse(t)
	recorded := []string{"cluster_namespace:b:rate"}
	for _, good := range []string{
		`sum by (kind, job) (rate(sealpost_a_total{kind="one",route=~"/x.*"}[5m]))`,
		`histogram_quantile(0.9, sum by (le) (rate(sealpost_b_seconds_bucket[5m])))`,
		`go_goroutines and on (instance) up`, `cluster_namespace:b:rate{cluster="x"}`,
	} {
		require.NoError(t, c.CheckQuery(good, recorded))
	}
	for bad, fault := range map[string]string{
		`sealpost_c_total`:                  "there is no metric sealpost_c_total",
		`sealpost_b_seconds`:                "there is no metric sealpost_b_seconds",
		`sealpost_a_total{user="x"}`:        "sealpost_a_total has no label user",
		`sealpost_a_total{kind="three"}`:    `sealpost_a_total never has kind="three"`,
		`sealpost_b_seconds_sum{le="1"}`:    "sealpost_b_seconds_sum has no label le",
		`sum by (kind) (go_goroutines)`:     "nothing has the label kind",
		`up * on (user) sealpost_a_total`:   "nothing has the label user",
		`cluster_namespace:b:rate{job="x"}`: "cluster_namespace:b:rate has no label job",
		`rate(sealpost_a_total[5m]`:         "unclosed left parenthesis",
	} {
		require.ErrorContains(t, c.CheckQuery(bad, recorded), fault, bad)
	}
}

func TestATableThatIsWrongIsRefused(t *testing.T) {
	for text, fault := range map[string]string{
		"nothing":                                "there is no table",
		"| `a` | counter | | auth |\n":           "it has 4 columns",
		"| `a` | counter | | elsewhere | A. |\n": `there is no process "elsewhere"`,
		"| `a` | counter | | auth | |\n":         "it has no meaning",
		"| `a` | counter | | auth | A. |\n| `a` | counter | | all | A. |\n": "it is there twice",
	} {
		_, err := catalogue.Parse(text)
		require.ErrorContains(t, err, fault)
	}
}
