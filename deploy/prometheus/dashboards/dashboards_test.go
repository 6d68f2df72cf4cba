package dashboards_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/sealpost/sealpost/deploy/prometheus/catalogue"
	"github.com/sealpost/sealpost/deploy/prometheus/dashboards"
	"github.com/sealpost/sealpost/deploy/prometheus/rules"
)

const folder = "../../grafana/dashboards"

func TestTheFilesAreWhatTheSourceSays(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(folder, "*.json"))
	require.NoError(t, err)
	require.Len(t, files, len(dashboards.All()))
	for _, d := range dashboards.All() {
		want, err := d.JSON()
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(folder, d.UID+".json"))
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), "run make generate")
	}
}

// units are the Grafana units that panels may use.
var units = []string{"s", "bytes", "short", "none", "bool", "percentunit", "reqps", "ops", "wps"}

func TestEachPanelSaysWhatItShowsAndAsksForWhatIsThere(t *testing.T) {
	table, err := catalogue.Read("../../METRICS.md")
	require.NoError(t, err)
	groups, err := rules.Load()
	require.NoError(t, err)
	legend := regexp.MustCompile(`\{\{(\w+)\}\}`)
	for _, d := range dashboards.All() {
		require.NotEmpty(t, d.Description)
		for _, row := range d.Rows {
			require.NotEmpty(t, row.Title)
			titles := map[string]bool{}
			for _, p := range row.Panels {
				t.Run(d.UID+" "+row.Title+" "+p.Title, func(t *testing.T) {
					require.NotEmpty(t, p.Title)
					require.False(t, titles[p.Title], "two have this title")
					titles[p.Title] = true
					require.NotEmpty(t, p.Description)
					require.Contains(t, units, p.Unit)
					require.NotEmpty(t, p.Queries)
					for _, q := range p.Queries {
						require.NotEmpty(t, q.Legend)
						require.NoError(t, table.CheckQuery(q.PromQL(), rules.Recorded(groups)))
						require.NotContains(t, q.PromQL(), "$")
						for _, label := range legend.FindAllStringSubmatch(q.Legend, -1) {
							require.NoError(t, table.CheckQuery("count by ("+label[1]+") ("+q.PromQL()+")", rules.Recorded(groups)))
						}
					}
				})
			}
		}
	}
}

// TestGrafanaCanShowThem checks what Grafana requires of a dashboard's file, and that none is specific to one installation.
func TestGrafanaCanShowThem(t *testing.T) {
	for _, d := range dashboards.All() {
		text, err := d.JSON()
		require.NoError(t, err)
		var file struct {
			UID           string `json:"uid"`
			SchemaVersion int    `json:"schemaVersion"`
			Templating    struct {
				List []struct{ Name, Type string } `json:"list"`
			} `json:"templating"`
			Panels []struct {
				ID      int            `json:"id"`
				Type    string         `json:"type"`
				GridPos map[string]int `json:"gridPos"`
				Targets []struct {
					RefID, Expr string
					Datasource  map[string]string
				}
			} `json:"panels"`
		}
		require.NoError(t, json.Unmarshal(text, &file))
		require.LessOrEqual(t, len(file.UID), 40)
		require.NotZero(t, file.SchemaVersion)
		var names []string
		for _, v := range file.Templating.List {
			names = append(names, v.Name)
		}
		require.Equal(t, []string{"datasource", "cluster", "namespace", "job"}, names)
		ids, cells := map[int]bool{}, map[[2]int]bool{}
		for _, p := range file.Panels {
			require.False(t, ids[p.ID])
			ids[p.ID] = true
			for x := range p.GridPos["w"] {
				for y := range p.GridPos["h"] {
					cell := [2]int{p.GridPos["x"] + x, p.GridPos["y"] + y}
					require.False(t, cells[cell], "two panels overlap")
					require.Less(t, cell[0], 24)
					cells[cell] = true
				}
			}
			for _, target := range p.Targets {
				require.Equal(t, "${datasource}", target.Datasource["uid"])
				require.NotEmpty(t, target.RefID)
			}
		}
	}
}

func TestTheProvisioningNamesTheFolderAndTheDataSource(t *testing.T) {
	read := func(file string) (parsed map[string]any) {
		text, err := os.ReadFile(filepath.Join("../../grafana/provisioning", file))
		require.NoError(t, err)
		require.NoError(t, yaml.Unmarshal(text, &parsed))
		require.Equal(t, 1, parsed["apiVersion"])
		return parsed
	}
	source := read("datasources/prometheus.yaml")["datasources"].([]any)[0].(map[string]any)
	require.Equal(t, "prometheus", source["type"])
	require.Equal(t, "http://prometheus:9090", source["url"])
	provider := read("dashboards/sealpost.yaml")["providers"].([]any)[0].(map[string]any)
	require.Equal(t, "file", provider["type"])
	require.Equal(t, "/var/lib/grafana/dashboards", provider["options"].(map[string]any)["path"])
}
