// Command bench measures: the Go benchmarks of the hot paths, and the scenarios of `sealpost load` on a server that it
// starts, standalone or a whole cluster. It repeats all of it in turn, so that what else happens on the machine falls
// on all alike, and prints medians. `make bench` builds what it needs and starts it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// options are what the command line says.
type options struct {
	root, bin string
	runs      int
	cluster   bool
	code      bool
	duration  time.Duration
	benchtime time.Duration
	polls     int
	reports   string
}

func main() {
	var o options
	flag.StringVar(&o.root, "root", ".", "folder of the workspace")
	flag.StringVar(&o.bin, "bin", "bin", "folder of the executables")
	flag.IntVar(&o.runs, "runs", 5, "how often everything is repeated")
	flag.BoolVar(&o.cluster, "cluster", false, "put the load on a whole cluster instead of the standalone server")
	flag.BoolVar(&o.code, "code", true, "run the Go benchmarks, too")
	flag.DurationVar(&o.duration, "duration", 10*time.Second, "how long each scenario is measured")
	flag.DurationVar(&o.benchtime, "benchtime", time.Second, "how long each Go benchmark runs")
	flag.IntVar(&o.polls, "polls", 5000, "how many idle polls are parked")
	flag.StringVar(&o.reports, "reports", "", "folder for a page with plots of each scenario; by default none")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out, progress io.Writer) (err error) {
	if o.runs < 1 {
		return errors.New("there must be at least one run")
	}
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(progress, &slog.HandlerOptions{Level: slog.LevelWarn}))
	begin := standalone
	if o.cluster {
		begin = wholeCluster
	}
	t := &table{}
	for i := range o.runs {
		say := func(what string) { _, _ = fmt.Fprintf(progress, "run %d of %d: %s\n", i+1, o.runs, what) }
		if o.code {
			if err := benchmarks(ctx, o, t, say); err != nil {
				return err
			}
		}
		d, err := begin(ctx, o, log)
		if err != nil {
			return err
		}
		err = scenarios(ctx, o, d, t, say)
		if err = errors.Join(err, d.stop()); err != nil {
			return err
		}
	}
	return t.write(out)
}
