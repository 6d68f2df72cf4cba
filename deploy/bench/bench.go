// Package bench measures: the Go benchmarks of the hot paths, and the scenarios of `sealpost load` on a server that it
// starts, standalone or a whole cluster. It repeats all of it in turn, so that what else happens on the machine falls
// on all alike, and prints medians.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"
)

// Options say what to measure.
type Options struct {
	// Root is the folder of the workspace, Bin that of the executables.
	Root, Bin string
	// Runs is how often everything is repeated.
	Runs int
	// Code runs the Go benchmarks; Standalone and Cluster put load on what they name.
	Code, Standalone, Cluster bool
	// Duration is how long each scenario is measured, BenchTime how long each Go benchmark.
	Duration, BenchTime time.Duration
	// Polls is how many idle polls are parked; of a cluster's, at so many gateways.
	Polls, Gateways int
	// Inbox is how many messages an inbox is filled with, and Accounts how many there are, in comparison with few of them.
	Inbox, Accounts int
	// Parts are the names of what is measured: see AllParts.
	Parts string
	// Reports is the folder for a page with plots of each scenario; empty for none.
	Reports string
}

// Run measures, and writes the table to out and what it is about to progress.
func Run(ctx context.Context, o Options, out, progress io.Writer) (err error) {
	if o.Runs < 1 {
		return errors.New("there must be at least one run")
	}
	if o.Bin, err = filepath.Abs(o.Bin); err != nil {
		return err
	}
	list, err := parts(o)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(progress, &slog.HandlerOptions{Level: slog.LevelWarn}))
	t := &table{}
	for i := range o.Runs {
		say := func(what string) { _, _ = fmt.Fprintf(progress, "run %d of %d: %s\n", i+1, o.Runs, what) }
		if o.Code {
			if err := benchmarks(ctx, o, t, say); err != nil {
				return err
			}
		}
		for _, k := range kinds(o) {
			if err := k.measure(ctx, o, list, t, say, log); err != nil {
				return err
			}
		}
	}
	return t.write(out)
}

// kind is a kind of deployment.
type kind struct {
	name  string
	begin func(ctx context.Context, o Options, log *slog.Logger, settings []string) (*deployment, error)
}

func kinds(o Options) (list []kind) {
	if o.Standalone {
		list = append(list, kind{"standalone", standalone})
	}
	if o.Cluster {
		list = append(list, kind{"cluster", wholeCluster})
	}
	return list
}

// measure puts load on deployments of a kind, one for each part.
func (k kind) measure(ctx context.Context, o Options, list []part, t *table, say func(string), log *slog.Logger) error {
	for _, p := range list {
		d, err := k.begin(ctx, o, log, p.settings)
		if err != nil {
			return err
		}
		d.name = k.name
		err = p.run(ctx, o, d, t, say)
		if err = errors.Join(err, d.stop()); err != nil {
			return err
		}
	}
	return nil
}
