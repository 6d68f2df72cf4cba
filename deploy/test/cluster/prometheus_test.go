package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sealpost/sealpost/deploy/prometheus/catalogue"
	"github.com/sealpost/sealpost/deploy/prometheus/live"
	"github.com/sealpost/sealpost/deploy/prometheus/rules"
	"github.com/sealpost/sealpost/deploy/prometheus/scrape"
	"github.com/sealpost/sealpost/deploy/test/cluster"
	"github.com/sealpost/sealpost/deploy/test/engines"
)

// alertDelay replaces each alert's `for`, so that it fires while the test watches. Expressions, ranges and thresholds are those of the
// rules.
const alertDelay = "3s"

// ofSpeed matches the alerts on durations. They look back over minutes and hours, so a machine that is busy while the cluster starts keeps
// them firing for as long as the test waits.
const ofSpeed = "SealpostEngineSlow|SealpostSlowRequests|SealpostDeliveryBudgetBurn.*"

// hastyRules writes a copy of the rules with short delays, and returns a glob of its files.
func hastyRules(t *testing.T) string {
	groups, err := rules.Load()
	require.NoError(t, err)
	folder := t.TempDir()
	for i, g := range groups {
		g.Interval = "" // the default interval
		for j := range g.Rules {
			if g.Rules[j].For != "" {
				g.Rules[j].For = alertDelay
			}
		}
		text, err := yaml.Marshal(map[string]any{"groups": []rules.Group{g}})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(folder, fmt.Sprint(i, ".yaml")), text, 0o600))
	}
	return filepath.Join(folder, "*.yaml")
}

// prometheus starts a Prometheus that scrapes all nodes every second.
func (r *rig) prometheus() live.Prometheus {
	r.t.Helper()
	o := scrape.Options{Interval: time.Second, Rules: hastyRules(r.t), Cluster: "test", Namespace: r.database}
	for _, service := range cluster.Services() {
		j := scrape.Job{Name: service}
		for _, n := range r.Nodes[service] {
			j.Targets = append(j.Targets, n.Admin)
		}
		o.Jobs = append(o.Jobs, j)
	}
	text, err := scrape.Config(o)
	require.NoError(r.t, err)
	folder := r.t.TempDir()
	configuration := filepath.Join(folder, "prometheus.yml")
	require.NoError(r.t, os.WriteFile(configuration, text, 0o600))
	ports, err := engines.FreePorts(1)
	require.NoError(r.t, err)
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	p, err := engines.StartPrometheus(ctx, nil, configuration, filepath.Join(folder, "data"), fmt.Sprintf("127.0.0.1:%d", ports[0]))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, p.Close()) })
	return live.Prometheus{URL: p.URL()}
}

// eventually waits until a query has an answer, or none.
func (r *rig) eventually(p live.Prometheus, query string, answered bool) {
	r.t.Helper()
	began := time.Now()
	var last atomic.Pointer[[]live.Sample]
	if !assert.Eventually(r.t, func() bool {
		samples, err := p.Query(r.t.Context(), query)
		last.Store(&samples)
		return err == nil && (len(samples) > 0) == answered
	}, 2*patience, 250*time.Millisecond, "%s: answered: %t", query, answered) {
		r.t.Fatalf("the last answer: %v", *last.Load())
	}
	r.t.Logf("after %s: %s: %t", time.Since(began).Round(time.Second), query, answered)
}

// fires requires that an alert is pending and then fires.
func (r *rig) fires(p live.Prometheus, alert, labels string) {
	r.t.Helper()
	r.eventually(p, fmt.Sprintf(`ALERTS{alertname=%q,alertstate="firing"%s}`, alert, labels), true)
	r.eventually(p, fmt.Sprintf(`count_over_time(ALERTS{alertname=%q,alertstate="pending"%s}[5m])`, alert, labels), true)
}

func (r *rig) resolves(p live.Prometheus, alert, labels string) {
	r.t.Helper()
	r.eventually(p, fmt.Sprintf(`ALERTS{alertname=%q%s}`, alert, labels), false)
}

// TestPrometheusSeesWhatGoesOnAndWhatFails: a Prometheus that scrapes a whole cluster under load answers every query of the dashboards and
// rules; what is stopped raises its alert, and what is restarted clears it.
func TestPrometheusSeesWhatGoesOnAndWhatFails(t *testing.T) {
	r := newRig(t, options{})
	p := r.prometheus()
	r.eventually(p, `count(up == 1) == `+fmt.Sprint(len(r.All())), true) // so that it sees all series from zero
	c := r.crowdOf(20)
	c.Start()
	moreSends(t, c, 100)
	r.eventually(p, `min(count_over_time(up[5m])) > 15`, true)
	until(t, "all rules are evaluated", func() bool {
		list, err := p.Rules(t.Context())
		return err == nil && len(list) > 0 && !slices.ContainsFunc(list, func(rule live.Rule) bool { return rule.Health == "unknown" })
	})
	var shown bytes.Buffer
	err := live.Check(t.Context(), p.URL, &shown)
	t.Log(shown.String())
	require.NoError(t, err)
	r.eventually(p, `ALERTS{alertstate="firing",alertname!~"`+ofSpeed+`"}`, false)
	slow, err := p.Query(t.Context(), `ALERTS{alertstate="firing"}`)
	require.NoError(t, err)
	t.Log("alerts of speed that are firing:", slow)

	table, err := catalogue.Read("../../METRICS.md")
	require.NoError(t, err)
	for _, n := range r.All() {
		text, err := n.AdminGet(t.Context(), "/metrics")
		require.NoError(t, err)
		require.NoError(t, table.Check(n.Service, strings.NewReader(text)), n.Name())
	}

	require.NoError(t, shared.NATS.Stop(t.Context()))
	r.fires(p, "SealpostBusAway", "")
	r.fires(p, "SealpostBusDisconnected", `,job="poll-gateway"`)
	require.NoError(t, shared.NATS.Start(t.Context()))
	r.resolves(p, "SealpostBusAway", "")

	require.NoError(t, shared.Redis.Stop(t.Context()))
	r.fires(p, "SealpostSequencerFallbacks", "")
	r.fires(p, "SealpostRevocationsStale", `,job="messages"`)
	require.NoError(t, shared.Redis.Start(t.Context()))
	r.resolves(p, "SealpostRevocationsStale", "")

	victim := r.Nodes[cluster.Messages][1]
	require.NoError(t, victim.Kill())
	r.fires(p, "SealpostTargetDown", fmt.Sprintf(",instance=%q", victim.Admin))
	require.NoError(t, victim.Restart(t.Context()))
	r.resolves(p, "SealpostTargetDown", "")
	t.Log(c.Finish().String()) // the tests of failures judge the messages
}
