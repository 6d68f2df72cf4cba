package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"

	"github.com/sealpost/sealpost/deploy/cluster"
	"github.com/sealpost/sealpost/deploy/engines"
)

// deployment is a server, or many, under load.
type deployment struct {
	url     string
	metrics []string
	stop    func() error
}

// settings make a server that can be measured: no limits on what one client may do, and passwords that cost nothing.
func settings(polls int) []string {
	return []string{"RATE_LIMIT=off", "ARGON2_MEMORY=64KiB", "ARGON2_TIME=1", "LOG_LEVEL=warn", fmt.Sprint("MAX_POLLS=", 2*polls+1000)}
}

// standalone starts the standalone server on an empty folder.
func standalone(ctx context.Context, o Options, log *slog.Logger) (*deployment, error) {
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
		Name: "standalone", Path: filepath.Join(o.Bin, "standalone"), Addr: fmt.Sprintf("127.0.0.1:%d", ports[0]),
		Env: append(settings(o.Polls), "HOST=127.0.0.1", fmt.Sprint("PORT=", ports[0]), "ADMIN_ADDRESS="+admin, "DATA_DIR="+data),
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
	return &deployment{
		url: server.URL(), metrics: []string{"http://" + admin + "/metrics"},
		stop: func() error { return errors.Join(server.Close(), os.RemoveAll(data)) },
	}, nil
}

// wholeCluster starts engines, two nodes of each service and the load balancer.
func wholeCluster(ctx context.Context, o Options, log *slog.Logger) (*deployment, error) {
	running, err := engines.Start(ctx, engines.All(log))
	if err != nil {
		return nil, err
	}
	c, err := cluster.Start(ctx, cluster.Options{
		Engines: running.Environ(), Nodes: 2, LoadBalancer: filepath.Join(o.Root, "deploy/lb/haproxy.cfg"), Log: log,
		Program: func(service string) (string, []string) { return filepath.Join(o.Bin, service), settings(o.Polls) },
		Environ: func(string, int) []string { return []string{"TRUSTED_PROXIES=127.0.0.1"} },
	})
	if err != nil {
		return nil, errors.Join(err, running.Close())
	}
	d := &deployment{url: c.Balancer.URL(), stop: func() error { return errors.Join(c.Close(), running.Close()) }}
	for _, n := range c.All() {
		d.metrics = append(d.metrics, "http://"+n.Admin+"/metrics")
	}
	return d, nil
}
