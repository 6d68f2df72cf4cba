package helm

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"
)

const (
	chartDir    = "sealpost"
	releaseName = "chat"
	namespace   = "messaging"
	// fullname is the chart's name for the release.
	fullname = "chat-sealpost"
)

// components are the services by the key of their values.
func components() map[string]string {
	return map[string]string{"auth": "auth", "keys": "keys", "messages": "messages", "pollGateway": "poll-gateway"}
}

// cases are the value files that the tests check, by name.
func cases() map[string]string {
	found, _ := filepath.Glob("testdata/values/*.yaml")
	files := map[string]string{
		"production": filepath.Join(chartDir, "values-production.yaml"),
		"dev":        filepath.Join(chartDir, "values-dev.yaml"),
	}
	for _, f := range found {
		files[strings.TrimSuffix(filepath.Base(f), ".yaml")] = f
	}
	return files
}

// each runs a test on the release of each value file.
func each(t *testing.T, claim func(t *testing.T, r *release)) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(cases())) {
		t.Run(name, func(t *testing.T) {
			r, err := caseRelease(name)
			require.NoError(t, err)
			claim(t, r)
		})
	}
}

// rendered caches the releases: many tests use each.
var rendered sync.Map

func caseRelease(name string) (*release, error) {
	load, _ := rendered.LoadOrStore(name, sync.OnceValues(func() (*release, error) {
		values, err := readValues(cases()[name])
		if err != nil {
			return nil, err
		}
		return newRelease(values)
	}))
	return load.(func() (*release, error))()
}

func readValues(file string) (map[string]any, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	values := map[string]any{}
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return values, nil
}

// parseValues parses values written in a test.
func parseValues(t *testing.T, text string) map[string]any {
	t.Helper()
	values := map[string]any{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &values))
	return values
}

// loadChart loads the chart with the rules and dashboards of testdata instead of its own, which change often.
func loadChart() (*chart.Chart, error) {
	c, err := loader.LoadDir(chartDir)
	if err != nil {
		return nil, err
	}
	c.Files = slices.DeleteFunc(c.Files, func(f *common.File) bool {
		return strings.HasPrefix(f.Name, "files/rules/") || strings.HasPrefix(f.Name, "files/dashboards/")
	})
	for _, f := range []string{"files/rules/example.yaml", "files/dashboards/example.json"} {
		data, err := os.ReadFile(filepath.Join("testdata", f))
		if err != nil {
			return nil, err
		}
		c.Files = append(c.Files, &common.File{Name: f, Data: data})
	}
	return c, nil
}

// renderChart does what `helm template` does, and returns the rendered files by the name of their template.
func renderChart(c *chart.Chart, values map[string]any) (map[string]string, error) {
	options := common.ReleaseOptions{Name: releaseName, Namespace: namespace, Revision: 1, IsInstall: true}
	all, err := util.ToRenderValues(c, values, options, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, all)
}

// document is one rendered object.
type document struct {
	template string
	text     string
}

// release is the result of rendering the chart with values.
type release struct {
	documents []document
	objects   []runtime.Object
	notes     string
}

func newRelease(values map[string]any) (*release, error) {
	c, err := loadChart()
	if err != nil {
		return nil, err
	}
	return decode(c, values)
}

var separator = regexp.MustCompile(`(?m)^---\n`)

// decode renders the chart and decodes strictly: a field that the type does not have, or that appears twice, is an error.
func decode(c *chart.Chart, values map[string]any) (*release, error) {
	files, err := renderChart(c, values)
	if err != nil {
		return nil, err
	}
	decoder := serializer.NewCodecFactory(newScheme(), serializer.EnableStrict).UniversalDeserializer()
	r := &release{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if path.Base(name) == "NOTES.txt" {
			r.notes = files[name]
			continue
		}
		if strings.HasSuffix(name, ".tpl") {
			continue
		}
		for _, text := range separator.Split(files[name], -1) {
			if strings.TrimSpace(text) == "" {
				continue
			}
			object, _, err := decoder.Decode([]byte(text), nil, nil)
			if err != nil {
				return nil, fmt.Errorf("%s: %w\n%s", name, err, text)
			}
			r.documents = append(r.documents, document{template: name, text: strings.TrimSpace(text) + "\n"})
			r.objects = append(r.objects, object)
		}
	}
	return r, nil
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		appsv1.AddToScheme, autoscalingv2.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme,
		policyv1.AddToScheme, gatewayv1.Install, monitoringv1.AddToScheme, egv1a1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return scheme
}

// of returns the objects of one type.
func of[T runtime.Object](r *release) []T {
	var found []T
	for _, o := range r.objects {
		if object, ok := o.(T); ok {
			found = append(found, object)
		}
	}
	return found
}

// named returns the one object of a type with a name.
func named[T interface {
	runtime.Object
	metav1.Object
}](t *testing.T, r *release, name string) T {
	t.Helper()
	for _, o := range of[T](r) {
		if o.GetName() == name {
			return o
		}
	}
	var none T
	t.Fatalf("no %T with the name %s", none, name)
	return none
}

// pod is a pod of a workload.
type pod struct {
	owner string
	meta  metav1.ObjectMeta
	spec  corev1.PodSpec
}

// component is the service that the pod runs, or its other purpose.
func (p pod) component() string { return p.meta.Labels["app.kubernetes.io/component"] }

// ours reports whether it runs one of our images.
func (p pod) ours() bool {
	return slices.Contains(slices.Collect(maps.Values(components())), p.component()) || p.component() == "create-indexes"
}

// pods returns the pods of all workloads.
func (r *release) pods() []pod {
	var all []pod
	for _, o := range r.objects {
		switch w := o.(type) {
		case *appsv1.Deployment:
			all = append(all, pod{"Deployment " + w.Name, w.Spec.Template.ObjectMeta, w.Spec.Template.Spec})
		case *appsv1.StatefulSet:
			all = append(all, pod{"StatefulSet " + w.Name, w.Spec.Template.ObjectMeta, w.Spec.Template.Spec})
		case *batchv1.Job:
			all = append(all, pod{"Job " + w.Name, w.Spec.Template.ObjectMeta, w.Spec.Template.Spec})
		case *corev1.Pod:
			all = append(all, pod{"Pod " + w.Name, w.ObjectMeta, w.Spec})
		}
	}
	return all
}

// selects reports whether a selector matches the labels of a pod.
func selects(t *testing.T, selector *metav1.LabelSelector, p pod) bool {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	require.NoError(t, err)
	return s.Matches(labelSet(p.meta.Labels))
}
