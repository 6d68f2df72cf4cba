package oldest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"sigs.k8s.io/kubectl-validate/pkg/openapiclient"
	"sigs.k8s.io/kubectl-validate/pkg/validator"
	"sigs.k8s.io/yaml"
)

// oldestVersion is what Chart.yaml asks for.
func oldestVersion(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../sealpost/Chart.yaml")
	require.NoError(t, err)
	var chart struct{ KubeVersion string }
	require.NoError(t, yaml.Unmarshal(text, &chart))
	m := regexp.MustCompile(`^>=(\d+\.\d+)\.0-0$`).FindStringSubmatch(chart.KubeVersion)
	require.Len(t, m, 2, chart.KubeVersion)
	return m[1]
}

func TestTheOldestKubernetesTakesEveryObject(t *testing.T) {
	v, err := validator.New(openapiclient.NewHardcodedBuiltins(oldestVersion(t)))
	require.NoError(t, err)
	files, err := filepath.Glob("../testdata/golden/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			checked := 0
			for _, document := range strings.Split(string(text), "---\n") {
				if !strings.Contains(document, "\nkind: ") || isCustom(document) {
					continue
				}
				_, object, err := v.Parse([]byte(document))
				require.NoError(t, err, document)
				require.NoError(t, v.Validate(object), document)
				checked++
			}
			require.Greater(t, checked, 12)
		})
	}
}

// TestAFieldThatIsNotThereIsAnError so that the test above is known to see one.
func TestAFieldThatIsNotThereIsAnError(t *testing.T) {
	v, err := validator.New(openapiclient.NewHardcodedBuiltins(oldestVersion(t)))
	require.NoError(t, err)
	for _, document := range []string{
		"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b, lifecycle: {stopSignal: SIGUSR1}}]}\n",
		"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: high}]}\n",
	} {
		_, object, err := v.Parse([]byte(document))
		if err == nil {
			err = v.Validate(object)
		}
		require.Error(t, err, document)
	}
}

// isCustom tells whether what an object is is defined elsewhere: by Gateway API, Prometheus's operator or Envoy Gateway.
func isCustom(document string) bool {
	return regexp.MustCompile(`(?m)^apiVersion: (gateway\.networking\.k8s\.io|monitoring\.coreos\.com|gateway\.envoyproxy\.io)/`).MatchString(document)
}
