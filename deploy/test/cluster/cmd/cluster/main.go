// Command cluster runs a whole deployment on this machine until it is interrupted: engines, two nodes of each service,
// and the load balancer. `make cluster` builds the services and starts it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/sealpost/sealpost/deploy/test/cluster"
	"github.com/sealpost/sealpost/deploy/test/engines"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:3000", "address of the load balancer")
	bin := flag.String("bin", "bin", "folder of the services' executables")
	balancer := flag.String("haproxy", "deploy/lb/haproxy.cfg", "configuration of the load balancer")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *listen, *bin, *balancer)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, bin, balancer string) (err error) {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	running, err := engines.Start(ctx, engines.All(log))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, running.Close()) }()
	c, err := cluster.Start(ctx, cluster.Options{
		Engines: running.Environ(), Nodes: 2, LoadBalancer: balancer, Listen: listen, Log: log,
		Program: func(service string) (string, []string) { return filepath.Join(bin, service), nil },
		Environ: func(string, int) []string { return []string{"TRUSTED_PROXIES=127.0.0.1", "LAME_DUCK=3s"} },
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	describe(c, running)
	var keeping sync.WaitGroup
	for _, n := range c.All() {
		keeping.Go(func() { keep(ctx, log, n) })
	}
	<-ctx.Done()
	log.Info("stopping")
	keeping.Wait()
	return nil
}

// pause is how long to wait after a node failed to start.
const pause = time.Second

// keep restarts a node whenever it ends, as an orchestrator would: kill one and watch what clients notice.
func keep(ctx context.Context, log *slog.Logger, n *cluster.Node) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.Ended():
		}
		log.Warn("a node has ended and is started again", "node", n.Name())
		if err := n.Restart(ctx); err != nil && ctx.Err() == nil {
			log.Error("not started", "node", n.Name(), "error", err.Error())
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

// describe prints all addresses.
func describe(c *cluster.Cluster, e *engines.Engines) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	line := func(cells ...any) { _, _ = fmt.Fprintf(w, "%s\t%v\t%v\t%v\n", cells...) }
	line("WHAT", "ADDRESS", "ADMIN", "PID")
	line("load balancer", c.Balancer.URL(), "", "")
	for _, n := range c.All() {
		pid, _ := n.Pid()
		line(n.Name(), n.URL(), "http://"+n.Admin, pid)
	}
	line("MongoDB", e.Mongo.URL(), "", "")
	line("Redis", e.Redis.URL(), "", "")
	line("NATS", e.NATS.URL(), "", "")
	_ = w.Flush()
	_, _ = fmt.Fprintln(os.Stdout, "\nCtrl-C stops everything.")
}
