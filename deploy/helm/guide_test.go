package helm

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// guide is the operator's guide.
const guide = "README.md"

// pages are the operator's guide and the runbooks, by name.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := contents(t, "../runbooks", "*.md")
	require.NotEmpty(t, texts)
	maps.Copy(texts, contents(t, "..", guide))
	return texts
}

// spoken is the release that the pages describe: named sealpost, with every optional object.
func spoken(t *testing.T) *release {
	t.Helper()
	values, err := readValues(cases()["everything-on"])
	require.NoError(t, err)
	values["fullnameOverride"] = "sealpost"
	r, err := newRelease(values)
	require.NoError(t, err)
	return r
}

var (
	kubectlPattern = regexp.MustCompile("kubectl [^`\n]*")
	// objectPattern matches names such as deployment/sealpost-auth.
	objectPattern   = regexp.MustCompile(`\b(deployment|deploy|service|job|configmap|statefulset)[/ ](sealpost[a-zA-Z-]*)`)
	selectorPattern = regexp.MustCompile(` -l (\S+)`)
)

// inRelease reports whether a kubectl command is about the release's namespace.
func inRelease(command string) bool { return strings.Contains(command, `-n "$NAMESPACE"`) }

func TestEveryObjectThatAPageNamesIsOneOfTheChart(t *testing.T) {
	there := map[string]bool{}
	for _, o := range spoken(t).objects {
		m, err := meta.Accessor(o)
		require.NoError(t, err)
		there[strings.ToLower(o.GetObjectKind().GroupVersionKind().Kind)+"/"+m.GetName()] = true
	}
	texts := pages(t)
	maps.Copy(texts, contents(t, "..", "ROTATION.md"))
	found := 0
	for page, text := range texts {
		for _, command := range kubectlPattern.FindAllString(text, -1) {
			for _, match := range objectPattern.FindAllStringSubmatch(command, -1) {
				found++
				if match[2] != "sealpost-SERVICE" {
					require.True(t, there[match[1]+"/"+match[2]], "%s: %s", page, command)
				}
			}
		}
	}
	require.Greater(t, found, 10)
}

// TestEverySelectorOfAPageFindsPods, and shows their whole logs: with a selector, kubectl logs prints only the last ten lines.
func TestEverySelectorOfAPageFindsPods(t *testing.T) {
	r, found := spoken(t), 0
	for page, text := range pages(t) {
		for _, command := range kubectlPattern.FindAllString(text, -1) {
			match := selectorPattern.FindStringSubmatch(command)
			if match == nil || !inRelease(command) {
				continue
			}
			found++
			selector, err := labels.Parse(match[1])
			require.NoError(t, err)
			require.True(t, slices.ContainsFunc(r.pods(), func(p pod) bool {
				return strings.HasPrefix(p.owner, "Deployment ") && selector.Matches(labelSet(p.meta.Labels))
			}), "%s: %s", page, command)
			if strings.Contains(command, " logs ") {
				require.Contains(t, command, "--tail=-1", page)
			}
			if _, rest, scales := strings.Cut(command, "scale deployment -l "); scales {
				require.True(t, slices.ContainsFunc(r.objects, func(o runtime.Object) bool {
					m, err := meta.Accessor(o)
					return err == nil && strings.HasPrefix(m.GetName(), "sealpost-") && selector.Matches(labelSet(m.GetLabels()))
				}), rest)
			}
		}
	}
	require.Greater(t, found, 5)
}

var secretPattern = regexp.MustCompile(`create secret generic (\S+) (.*)`)

// TestTheSecretsOfTheGuideAreThoseThatPodsMount with the chart's default values: names and keys.
func TestTheSecretsOfTheGuideAreThoseThatPodsMount(t *testing.T) {
	r, err := newRelease(nil)
	require.NoError(t, err)
	needed := map[string]bool{}
	for _, p := range r.pods() {
		for _, v := range p.spec.Volumes {
			for _, source := range v.Projected.Sources {
				key := "signing.pem" // a folder of keys, of which this one signs
				if len(source.Secret.Items) > 0 {
					key = source.Secret.Items[0].Key
				}
				needed[source.Secret.Name+"/"+key] = true
			}
		}
	}
	made := map[string]bool{}
	for _, match := range secretPattern.FindAllStringSubmatch(pages(t)[guide], -1) {
		_, key, _ := strings.Cut(strings.Fields(match[2])[0], "=")
		key, _, _ = strings.Cut(key, "=")
		made[match[1]+"/"+key] = true
	}
	require.Equal(t, needed, made)
}

var blockPattern = regexp.MustCompile("(?s)```yaml\n(.*?)\n```")

// TestTheValuesOfTheGuideMakeARelease: it is published, monitored and closed to others.
func TestTheValuesOfTheGuideMakeARelease(t *testing.T) {
	blocks := blockPattern.FindAllStringSubmatch(pages(t)[guide], -1)
	require.Len(t, blocks, 1)
	values := map[string]any{}
	require.NoError(t, yaml.UnmarshalStrict([]byte(blocks[0][1]), &values))
	r, err := newRelease(values)
	require.NoError(t, err)
	require.Len(t, of[*corev1.Service](r), 5)
	require.NotContains(t, r.notes, "is not set")
	require.NotContains(t, r.notes, "Nothing is published")
	require.NotContains(t, r.notes, "every pod may reach")
}

var valuePattern = regexp.MustCompile("`([a-zA-Z]+(?:\\.[a-zA-Z]+)+)`")

func TestEveryValueThatAPageNamesIsOneOfTheChart(t *testing.T) {
	values, err := readValues(filepath.Join(chartDir, "values.yaml"))
	require.NoError(t, err)
	found := 0
	for page, text := range pages(t) {
		for _, match := range valuePattern.FindAllStringSubmatch(text, -1) {
			steps := strings.Split(match[1], ".")
			if _, ofChart := values[steps[0]]; !ofChart {
				continue
			}
			found++
			_, isService := components()[steps[0]]
			require.True(t, holds(values, steps) || (isService && holds(values, append([]string{"defaults"}, steps[1:]...))), "%s: %s", page, match[1])
		}
	}
	require.Greater(t, found, 10)
}

// holds reports whether values have a value at the path steps.
func holds(values map[string]any, steps []string) bool {
	value, there := values[steps[0]]
	if below, more := value.(map[string]any); more && len(steps) > 1 {
		return holds(below, steps[1:])
	}
	return there && len(steps) == 1
}

var filePattern = regexp.MustCompile(`(?m)(?:-f |helm \w+ sealpost )(deploy/\S+)`)

// TestEveryFileThatAPageNamesIsThere: links are tested in deploy/prometheus/catalogue, for all pages.
func TestEveryFileThatAPageNamesIsThere(t *testing.T) {
	for page, text := range pages(t) {
		for _, match := range filePattern.FindAllStringSubmatch(text, -1) {
			_, err := os.Stat(filepath.Join("../..", match[1]))
			require.NoError(t, err, page)
		}
	}
}

// TestWhoRollsBackDoesSoWithHelm: kubectl would start old pods with the new settings, whose ConfigMaps have the same names.
func TestWhoRollsBackDoesSoWithHelm(t *testing.T) {
	for name, text := range pages(t) {
		require.NotContains(t, text, "rollout undo", name)
	}
}

// TestTheAdapterServesWhatTheAutoscalerAsksFor, for the pods that it scales.
func TestTheAdapterServesWhatTheAutoscalerAsksFor(t *testing.T) {
	text, err := os.ReadFile("../prometheus/adapter.yaml")
	require.NoError(t, err)
	values, err := os.ReadFile("sealpost/values.yaml")
	require.NoError(t, err)
	_, metric, found := strings.Cut(string(values), "openPollsMetric: ")
	require.True(t, found)
	metric, _, _ = strings.Cut(metric, "\n")
	require.Contains(t, string(text), "as: "+metric+"}")
	require.Contains(t, string(text), "seriesQuery: '"+metric+"{")
}
