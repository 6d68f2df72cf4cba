// Package scrape writes Prometheus's configuration for given nodes.
package scrape

import (
	"bytes"
	"fmt"
	"text/template"
	"time"
)

// Job is a service and the admin ports (host:port) of its nodes.
type Job struct {
	Name    string
	Targets []string
}

// Options configure Prometheus.
type Options struct {
	// Interval is how often nodes are scraped and rules evaluated.
	Interval time.Duration
	// Rules is a glob of the rule files, as Prometheus sees them.
	Rules string
	// Cluster and Namespace are labels of all nodes; together they name a deployment.
	Cluster, Namespace string
	Jobs               []Job
}

// AdminPort is the default port of ADMIN_ADDRESS.
const AdminPort = 9301

// Compose returns the options for docker-compose.yml: two nodes of each service, as the load balancer has them.
func Compose() Options {
	o := Options{Interval: 15 * time.Second, Rules: "/etc/prometheus/rules/*.yaml", Cluster: "compose", Namespace: "sealpost"}
	for _, service := range []string{"auth", "keys", "messages", "poll-gateway"} {
		j := Job{Name: service}
		for i := range 2 {
			j.Targets = append(j.Targets, fmt.Sprintf("%s-%d:%d", service, i+1, AdminPort))
		}
		o.Jobs = append(o.Jobs, j)
	}
	return o
}

var configuration = template.Must(template.New("prometheus.yml").Parse(`# Written by make generate from deploy/prometheus/scrape: change it there.
# Nodes are scraped at their admin ports: set ADMIN_ADDRESS=:9301, and let nobody but Prometheus reach it.
global:
  scrape_interval: {{ .Interval }}
  evaluation_interval: {{ .Interval }}
rule_files:
  - {{ printf "%q" .Rules }}
scrape_configs:
{{- range .Jobs }}
  - job_name: {{ printf "%q" .Name }}
    static_configs:
      - targets:
{{- range .Targets }}
          - {{ printf "%q" . }}
{{- end }}
        labels:
          cluster: {{ printf "%q" $.Cluster }}
          namespace: {{ printf "%q" $.Namespace }}
{{- end }}
`))

// Config returns the text of prometheus.yml.
func Config(o Options) ([]byte, error) {
	var text bytes.Buffer
	err := configuration.Execute(&text, o)
	return text.Bytes(), err
}

//go:generate go run ../cmd/scrapeconfig ../prometheus.yml
