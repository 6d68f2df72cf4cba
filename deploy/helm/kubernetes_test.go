package helm

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/validation"
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

// TestALongNameOfAReleaseIsCut, so that no object's name is too long for Kubernetes.
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
