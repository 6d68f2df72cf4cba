// Package bench measures the Go benchmarks of the hot paths, and the scenarios of sealpost-load on a server that it starts, standalone or
// a whole cluster. It repeats everything in turn, so that other activity on the machine affects all alike, and prints medians. It can also
// measure an earlier commit: then each scenario runs on both by turns.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"regexp"
	"time"
)

// Options say what to measure.
type Options struct {
	// Root is the folder of the workspace, Bin that of the executables.
	Root, Bin string
	// Against is a commit whose servers are measured beside today's; empty for none. The load generator is always today's.
	Against string
	// Runs is how often everything is repeated.
	Runs int
	// Code runs the Go benchmarks; Standalone and Cluster put load on the deployment they name.
	Code, Standalone, Cluster bool
	// Duration is how long each scenario is measured, BenchTime how long each Go benchmark.
	Duration, BenchTime time.Duration
	// UnderWay are the numbers of concurrent sends, one closed loop for each.
	UnderWay []int
	// Only selects throughput scenarios by their names.
	Only *regexp.Regexp
	// Polls is the number of idle polls, Streams that of idle streams; in a cluster they are spread over that many Gateways.
	Polls, Streams, Gateways int
	// Inbox is the number of messages that fill an inbox, Accounts the number of accounts; both are compared with few.
	Inbox, Accounts int
	// Parts are the names of the parts to measure: see AllParts.
	Parts string
	// Reports is the folder for a page with plots of each scenario; empty for none.
	Reports string
}

func (o Options) validate() error {
	if o.Runs < 1 || len(o.UnderWay) == 0 {
		return errors.New("there must be at least one run, and a number of sends under way")
	}
	return nil
}

// Run measures, and writes the table to out and its progress to progress.
func Run(ctx context.Context, o Options, out, progress io.Writer) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	if o.Bin, err = filepath.Abs(o.Bin); err != nil {
		return err
	}
	list, err := parts(o)
	if err != nil {
		return err
	}
	versions, remove, err := builds(ctx, o, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	m := &measurement{Options: o, builds: versions, table: newTable(versions)}
	for i := range o.Runs {
		m.say = func(what string) { _, _ = fmt.Fprintf(progress, "run %d of %d: %s\n", i+1, o.Runs, what) }
		if err := m.once(ctx, list, slog.New(slog.NewTextHandler(progress, &slog.HandlerOptions{Level: slog.LevelWarn}))); err != nil {
			return err
		}
	}
	return m.table.write(out)
}

// measurement is a Run in progress.
type measurement struct {
	Options
	builds []build
	table  *table
	say    func(what string)
}

// once measures everything once.
func (m *measurement) once(ctx context.Context, list []part, log *slog.Logger) error {
	if m.Code {
		if err := m.benchmarks(ctx); err != nil {
			return err
		}
	}
	for _, k := range kinds(m.Options) {
		for _, p := range list {
			if err := m.load(ctx, k, p, log); err != nil {
				return err
			}
		}
	}
	return nil
}

// kind is a kind of deployment.
type kind struct {
	name  string
	begin func(ctx context.Context, o Options, b build, log *slog.Logger, settings []string) (*deployment, error)
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

// load measures one part on deployments of a kind, one of each build. All run, but only one has load at a time.
func (m *measurement) load(ctx context.Context, k kind, p part, log *slog.Logger) (err error) {
	g := &group{measurement: m, kind: k.name}
	defer func() {
		for _, d := range g.deployments {
			err = errors.Join(err, d.stop())
		}
	}()
	for _, b := range m.builds {
		d, err := k.begin(ctx, m.Options, b, log, p.settings)
		if err != nil {
			return err
		}
		g.deployments = append(g.deployments, d)
	}
	return p.run(ctx, g)
}
