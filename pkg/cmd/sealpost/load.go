package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sealpost/sealpost/pkg/load"
	"github.com/sealpost/sealpost/pkg/load/report"
)

const aboutLoad = `Puts load on a server, with accounts that it opens there, and tells what came of it.

Latencies of an open loop (--rate) count from the moment at which something was to happen, so that a server that stalls
cannot hide it; "begun late" tells how late the generator itself was. Without --rate, each of --concurrency senders goes
on as soon as it is answered. Every message that was accepted must arrive once at each recipient, in the order of its
positions: the exit status is 1 if one did not.

Nothing is encrypted: contents and wrapped keys are random text of the right length, which the server cannot tell from
the real thing. The server must run with RATE_LIMIT=off. Give several servers as --server URL,URL.`

// loadFlags are what the scenarios have in common.
type loadFlags struct {
	target     load.Target
	json, html string
}

func (a *app) loadCommand() *cobra.Command {
	f := &loadFlags{}
	cmd := &cobra.Command{
		Use: "load", Short: "put load on a server", Long: aboutLoad,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("there is no scenario %q: see `sealpost load --help`", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.json, "json", "", "file for the report as JSON")
	flags.StringVar(&f.html, "html", "", "file for the report as a page with plots")
	flags.StringSliceVar(&f.target.Metrics, "metrics", nil, "URLs of /metrics of the server's processes, on their admin ports: what they use is reported")
	flags.StringVar(&f.target.Prefix, "prefix", "", "beginning of the users' names; with one that was used before, they log in; default: a new one")
	flags.StringVar(&f.target.Password, "users-password", "a load test's password", "password of the users")
	cmd.AddCommand(a.deliverCommand(f), a.pairsCommand(f))
	return cmd
}

// scenario makes a subcommand of a scenario.
func (a *app) scenario(f *loadFlags, use, short string, run func(context.Context) (*report.Report, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.target.Servers = strings.Split(cmp.Or(a.server, defaultServer), ",")
			if file, ok := a.err.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
				f.target.Progress = file
			}
			r, err := run(cmd.Context())
			if err != nil {
				return err
			}
			return a.report(f, r)
		},
	}
}

// errWrong is the end of a test in which the server broke a promise. The report says which.
var errWrong = errors.New("the server did not keep its promises")

func (a *app) report(f *loadFlags, r *report.Report) error {
	err := r.WriteText(a.out)
	if f.json != "" {
		err = errors.Join(err, writeFile(f.json, r.WriteJSON))
	}
	if f.html != "" {
		err = errors.Join(err, writeFile(f.html, r.WriteHTML))
	}
	if err == nil && !r.Passed() {
		err = errWrong
	}
	return err
}

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

func (a *app) deliverCommand(f *loadFlags) *cobra.Command {
	s := &load.Deliver{}
	cmd := a.scenario(f, "deliver", "users send to each other, and all read", func(ctx context.Context) (*report.Report, error) {
		s.Target = f.target
		return s.Run(ctx, "deliver")
	})
	deliverFlags(cmd, s)
	cmd.Flags().StringVar(&s.FanOut, "fan-out", "all", "how many users each message goes to: a number, or all")
	return cmd
}

func (a *app) pairsCommand(f *loadFlags) *cobra.Command {
	s := &load.Deliver{FanOut: "1"}
	cmd := a.scenario(f, "pairs", "each user sends to one other, and all read", func(ctx context.Context) (*report.Report, error) {
		s.Target = f.target
		return s.Run(ctx, "pairs")
	})
	deliverFlags(cmd, s)
	return cmd
}

func deliverFlags(cmd *cobra.Command, s *load.Deliver) {
	flags := cmd.Flags()
	flags.IntVar(&s.Users, "users", 20, "how many users there are")
	flags.IntVar(&s.Size, "size", 400, "length of a message's content, in characters")
	flags.Float64Var(&s.Rate, "rate", 0, "messages sent a second, by all together; 0 for a closed loop")
	flags.IntVar(&s.Concurrency, "concurrency", 64, "sends that are under way at once; with --rate, at most")
	flags.DurationVar(&s.Warmup, "warm-up", time.Second, "how long there is load before anything is measured")
	flags.DurationVar(&s.Duration, "duration", 10*time.Second, "how long it is measured")
	flags.DurationVar(&s.Patience, "patience", 10*time.Second, "how long to wait, while nothing arrives, for a message that is missing")
}
