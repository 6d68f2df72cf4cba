package helm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

func TestPrometheusFindsTheAdminPortOfEachPodOfTheServices(t *testing.T) {
	r, err := caseRelease("everything-on")
	require.NoError(t, err)
	monitors := of[*monitoringv1.ServiceMonitor](r)
	require.Len(t, monitors, 1)
	selector, err := metav1.LabelSelectorAsSelector(&monitors[0].Spec.Selector)
	require.NoError(t, err)
	var found []*corev1.Service
	for _, s := range of[*corev1.Service](r) {
		if selector.Matches(labelSet(s.Labels)) {
			found = append(found, s)
		}
	}
	require.Len(t, found, 1, "a pod behind two Services would be scraped twice")
	require.Equal(t, found[0].Spec.Ports[0].Name, monitors[0].Spec.Endpoints[0].Port)
	require.True(t, found[0].Spec.PublishNotReadyAddresses, "pods that drain are scraped, too")
	for _, p := range r.pods() {
		_, isService := strings.CutPrefix(p.owner, "Deployment ")
		require.Equal(t, isService, selects(t, &metav1.LabelSelector{MatchLabels: found[0].Spec.Selector}, p), p.owner)
	}
	require.Len(t, of[*appsv1.Deployment](r), 4)
}

func TestTheMetricOfTheAutoscalerIsOneOfTheGateway(t *testing.T) {
	values, err := readValues(filepath.Join(chartDir, "values.yaml"))
	require.NoError(t, err)
	name := values["pollGateway"].(map[string]any)["autoscaling"].(map[string]any)["openPollsMetric"].(string)
	source, err := os.ReadFile("../../services/poll-gateway/internal/gateway/metrics.go")
	require.NoError(t, err)
	require.Contains(t, string(source), `"`+name+`"`)
}

func TestRulesAndDashboardsComeOutAsTheyWentIn(t *testing.T) {
	r, err := caseRelease("everything-on")
	require.NoError(t, err)
	text, err := os.ReadFile("testdata/files/rules/example.yaml")
	require.NoError(t, err)
	var want monitoringv1.PrometheusRuleSpec
	require.NoError(t, yaml.UnmarshalStrict(text, &want))
	require.Equal(t, want, named[*monitoringv1.PrometheusRule](t, r, fullname+"-example").Spec)
	text, err = os.ReadFile("testdata/files/dashboards/example.json")
	require.NoError(t, err)
	dashboard := named[*corev1.ConfigMap](t, r, fullname+"-dashboard-example")
	require.Equal(t, "1", dashboard.Labels["grafana_dashboard"])
	require.JSONEq(t, string(text), dashboard.Data["example.json"])
}

// TestTheChartsOwnRulesAndDashboardsAreAllRendered and accepted by the types of the Prometheus operator.
func TestTheChartsOwnRulesAndDashboardsAreAllRendered(t *testing.T) {
	c, err := loader.LoadDir(chartDir)
	require.NoError(t, err)
	r, err := decode(c, parseValues(t, `{prometheusRule: {enabled: true}, dashboards: {enabled: true}}`))
	require.NoError(t, err)
	rules, dashboards := map[string]bool{}, map[string]string{}
	for _, rule := range of[*monitoringv1.PrometheusRule](r) {
		require.NotEmpty(t, rule.Spec.Groups, rule.Name)
		rules[strings.TrimPrefix(rule.Name, fullname+"-")+".yaml"] = true
	}
	for _, m := range of[*corev1.ConfigMap](r) {
		if m.Labels["grafana_dashboard"] != "" {
			for name, text := range m.Data {
				require.True(t, json.Valid([]byte(text)), name)
				dashboards[name] = text
			}
		}
	}
	for name := range contents(t, filepath.Join(chartDir, "files/rules"), "*.yaml") {
		require.True(t, rules[name], name)
	}
	require.Len(t, rules, len(contents(t, filepath.Join(chartDir, "files/rules"), "*.yaml")))
	require.Len(t, dashboards, len(contents(t, filepath.Join(chartDir, "files/dashboards"), "*.json")))
}
