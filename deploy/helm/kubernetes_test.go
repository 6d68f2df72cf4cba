package helm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/kubectl-validate/pkg/openapiclient"
	"sigs.k8s.io/kubectl-validate/pkg/validator"
)

func TestHelmFindsNothingToComplainOf(t *testing.T) {
	for name, file := range cases() {
		t.Run(name, func(t *testing.T) {
			values, err := readValues(file)
			require.NoError(t, err)
			for _, m := range lint.RunAll(chartDir, values, namespace).Messages {
				require.Contains(t, m.Error(), "icon is recommended")
			}
		})
	}
}

// TestTheOldestKubernetesTakesEveryObject of its own, by the schemas of its API: what came later than the version that
// Chart.yaml asks for is an error.
func TestTheOldestKubernetesTakesEveryObject(t *testing.T) {
	const oldest = "1.30"
	c, err := loader.LoadDir(chartDir)
	require.NoError(t, err)
	require.Equal(t, ">="+oldest+".0-0", c.Metadata.KubeVersion)
	v, err := validator.New(openapiclient.NewHardcodedBuiltins(oldest))
	require.NoError(t, err)
	each(t, func(t *testing.T, r *release) {
		checked := 0
		for _, d := range r.documents {
			if isCustom(d) {
				continue
			}
			_, object, err := v.Parse([]byte(d.text))
			require.NoError(t, err, d.template)
			require.NoError(t, v.Validate(object), "%s\n%s", d.template, d.text)
			checked++
		}
		require.Greater(t, checked, 15)
	})
}

// isCustom tells whether a custom resource is defined elsewhere: Gateway API, Prometheus's operator, Envoy Gateway.
func isCustom(d document) bool {
	for _, group := range []string{"gateway.networking.k8s.io/", "monitoring.coreos.com/", "gateway.envoyproxy.io/"} {
		if strings.Contains(d.text, "apiVersion: "+group) {
			return true
		}
	}
	return false
}

func TestEveryObjectIsOfTheReleaseAndHasANameOfItsOwn(t *testing.T) {
	each(t, func(t *testing.T, r *release) {
		seen := map[string]bool{}
		for i, o := range r.objects {
			m, err := meta.Accessor(o)
			require.NoError(t, err)
			key := o.GetObjectKind().GroupVersionKind().String() + " " + m.GetName()
			require.False(t, seen[key], key)
			seen[key] = true
			require.Equal(t, namespace, m.GetNamespace(), key)
			require.True(t, strings.HasPrefix(m.GetName(), fullname), key)
			require.Empty(t, validation.IsDNS1123Subdomain(m.GetName()), key)
			require.LessOrEqual(t, len(m.GetName()), validation.DNS1035LabelMaxLength, key)
			require.Equal(t, releaseName, m.GetLabels()["app.kubernetes.io/instance"], "%s of %s", key, r.documents[i].template)
		}
	})
}

// TestALongNameOfAReleaseIsCut so that no object's name is too long for Kubernetes.
func TestALongNameOfAReleaseIsCut(t *testing.T) {
	values, err := readValues(cases()["everything-on"])
	require.NoError(t, err)
	values["fullnameOverride"] = strings.Repeat("n", 40)
	r, err := newRelease(values)
	require.NoError(t, err)
	for _, o := range r.objects {
		m, err := meta.Accessor(o)
		require.NoError(t, err)
		require.LessOrEqual(t, len(m.GetName()), validation.DNS1035LabelMaxLength, m.GetName())
	}
}
