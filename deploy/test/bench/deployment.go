package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sealpost/sealpost/deploy/test/cluster"
	"github.com/sealpost/sealpost/deploy/test/engines"
)

// deployment is a server, or many, under load.
type deployment struct {
	url     string
	metrics []string
	// cpu are the processes whose processor time is reported, in the form of `sealpost-load --cpu`.
	cpu []string
	// gateways are where idle polls go, unless to url: a load balancer needs two open files for each. gatewayMetrics are the metrics of the
	// servers that hold the polls.
	gateways, gatewayMetrics []string
	stop                     func() error
}

// settings make a server measurable: no limits on what one client may do, and cheap password hashing.
func settings() []string {
	return []string{"RATE_LIMIT=off", "ARGON2_MEMORY=64KiB", "ARGON2_TIME=1", "LOG_LEVEL=warn"}
}

// standalone starts the standalone server on an empty folder.
func standalone(ctx context.Context, _ Options, b build, log *slog.Logger, more []string) (*deployment, error) {
	data, err := os.MkdirTemp("", "sealpost-bench-")
	if err != nil {
		return nil, err
	}
	ports, err := engines.FreePorts(2)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(data))
	}
	admin := fmt.Sprintf("127.0.0.1:%d", ports[1])
	server, err := engines.StartProgram(ctx, log, engines.Program{
		Name: "standalone", Path: filepath.Join(b.bin, "standalone"), Addr: fmt.Sprintf("127.0.0.1:%d", ports[0]),
		Env: append(append(settings(), more...), "HOST=127.0.0.1", fmt.Sprint("PORT=", ports[0]), "ADMIN_ADDRESS="+admin, "DATA_DIR="+data),
		Ready: func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
			if err != nil {
				return err
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			if res.StatusCode != http.StatusOK {
				err = errors.New(res.Status)
			}
			return errors.Join(err, res.Body.Close())
		},
	})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(data))
	}
	metrics := []string{"http://" + admin + "/metrics"}
	return &deployment{
		url: server.URL(), metrics: metrics, gatewayMetrics: metrics, cpu: []string{processes("server", server)},
		stop: func() error { return errors.Join(server.Close(), os.RemoveAll(data)) },
	}, nil
}

// wholeCluster starts engines, nodes of each service and the load balancer.
func wholeCluster(ctx context.Context, o Options, b build, log *slog.Logger, more []string) (*deployment, error) {
	running, err := engines.Start(ctx, engines.All(log))
	if err != nil {
		return nil, err
	}
	own := []*engines.Engine{running.Mongo, running.Redis, running.NATS}
	if o.Against != "" && slices.ContainsFunc(own, (*engines.Engine).External) {
		return nil, errors.Join(errors.New("two builds need engines of their own: unset MONGODB_URI, REDIS_URL and NATS_URL"), running.Close())
	}
	c, err := cluster.Start(ctx, cluster.Options{
		Engines: running.Environ(), Nodes: o.Gateways, LoadBalancer: filepath.Join(o.Root, "deploy/lb/haproxy.cfg"), Log: log,
		ConnectionsPerAddress: 1 << 20, // the generator has one address
		Program:               func(service string) (string, []string) { return filepath.Join(b.bin, service), settings() },
		Environ:               func(string, int) []string { return append([]string{"TRUSTED_PROXIES=127.0.0.1"}, more...) },
	})
	if err != nil {
		return nil, errors.Join(err, running.Close())
	}
	d := &deployment{url: c.Balancer.URL(), stop: func() error { return errors.Join(c.Close(), running.Close()) }}
	for _, n := range c.Nodes[cluster.Gateway] {
		d.gatewayMetrics = append(d.gatewayMetrics, "http://"+n.Admin+"/metrics")
		d.gateways = append(d.gateways, n.URL())
	}
	var nodes []*engines.Engine
	for _, n := range c.All() {
		d.metrics = append(d.metrics, "http://"+n.Admin+"/metrics")
		nodes = append(nodes, n.Engine)
	}
	d.cpu = []string{processes("server", nodes...), processes("engines", append(own, c.Balancer)...)}
	return d, nil
}

// processes formats the processes of programs; external engines have no known ones.
func processes(name string, list ...*engines.Engine) string {
	var pids []string
	for _, e := range list {
		for _, pid := range e.Pids() {
			pids = append(pids, strconv.Itoa(pid))
		}
	}
	return name + "=" + strings.Join(pids, ",")
}
