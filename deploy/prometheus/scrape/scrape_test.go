package scrape_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sealpost/sealpost/deploy/prometheus/scrape"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/httpserver"
)

func TestTheFileIsWhatTheSourceSays(t *testing.T) {
	want, err := scrape.Config(scrape.Compose())
	require.NoError(t, err)
	got, err := os.ReadFile("../prometheus.yml")
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "run make generate")
}

func TestItScrapesWhatTheLoadBalancerKnows(t *testing.T) {
	text, err := scrape.Config(scrape.Compose())
	require.NoError(t, err)
	var parsed struct {
		Jobs []struct {
			Name    string `yaml:"job_name"`
			Configs []struct {
				Targets []string          `yaml:"targets"`
				Labels  map[string]string `yaml:"labels"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	require.NoError(t, yaml.Unmarshal(text, &parsed))
	balancer, err := os.ReadFile("../../lb/haproxy.cfg")
	require.NoError(t, err)
	targets := 0
	for _, j := range parsed.Jobs {
		for _, target := range j.Configs[0].Targets {
			host, _, _ := strings.Cut(target, ":")
			require.Contains(t, string(balancer), "server "+host+" ")
			targets++
		}
		require.Len(t, j.Configs[0].Labels, 2)
	}
	require.Equal(t, strings.Count(string(balancer), " check port "), targets, "others are tracked: they are the same nodes")
}

func TestTheAdminPortIsTheServicesDefault(t *testing.T) {
	for _, v := range config.Variables(httpserver.Config{}) {
		if v.Name == "ADMIN_ADDRESS" {
			require.Equal(t, "127.0.0.1:9301", v.Default)
			require.Equal(t, 9301, scrape.AdminPort)
		}
	}
}
