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
	"github.com/sealpost/sealpost/pkg/load/fleet"
	"github.com/sealpost/sealpost/pkg/load/report"
)

const aboutLoad = `Puts load on a server, with accounts that it opens there, and tells what came of it.

Latencies of an open loop (--rate) count from the moment at which something was to happen, so that a server that stalls
cannot hide it; "begun late" tells how late the generator itself was. Without --rate, each of --concurrency senders goes
on as soon as it is answered. Every message that was accepted must arrive once at each recipient, in the order of its
positions: the exit status is 1 if one did not.

Nothing is encrypted: contents and wrapped keys are random text of the right length, which the server cannot tell from
the real thing. The server must run with RATE_LIMIT=off. Give several servers as --server URL,URL.`

// loadFlags are the flags that all scenarios share.
type loadFlags struct {
	target     load.Target
	json, html string
	cpu        []string
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
	flags.StringArrayVar(&f.cpu, "cpu", nil, "NAME=PID,PID…: what a send and a delivery cost these processes of this machine, with their children, is reported; may be repeated")
	flags.StringVar(&f.target.Prefix, "prefix", "", "beginning of the users' names; with one that was used before, they log in; default: a new one")
	flags.StringVar(&f.target.Password, "users-password", "a load test's password", "password of the users")
	cmd.AddCommand(a.deliverCommand(f), a.pairsCommand(f), a.parkCommand(f), a.stormCommand(f), a.loadLoginCommand(f), a.inboxCommand(f), a.workerCommand())
	return cmd
}

// scenario makes the subcommand of a scenario.
func (a *app) scenario(f *loadFlags, use, short string, run func(context.Context) (*report.Report, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.target.Servers = strings.Split(cmp.Or(a.server, defaultServer), ",")
			if file, ok := a.err.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
				f.target.Progress = file
			}
			for _, text := range f.cpu {
				p, err := load.ParseProcesses(text)
				if err != nil {
					return usagef("--cpu: %s", err)
				}
				f.target.Processes = append(f.target.Processes, p)
			}
			r, err := run(cmd.Context())
			if err != nil {
				return untilInterrupted(err)
			}
			return a.report(f, r)
		},
	}
}

// errWrong ends a test in which the server broke a promise. The report says which.
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
	flags.IntVar(&s.Accounts, "accounts", 0, "how many accounts are there: with more than users, the others do nothing")
	flags.BoolVar(&s.Streams, "streams", false, "read by streams instead of polls")
	flags.IntVar(&s.Size, "size", 400, "length of a message's content, in characters")
	flags.Float64Var(&s.Rate, "rate", 0, "messages sent a second, by all together; 0 for a closed loop")
	flags.IntVar(&s.Concurrency, "concurrency", 64, "sends that are under way at once; with --rate, at most")
	flags.DurationVar(&s.Warmup, "warm-up", time.Second, "how long there is load before anything is measured")
	flags.DurationVar(&s.Duration, "duration", 10*time.Second, "how long it is measured")
	flags.DurationVar(&s.Patience, "patience", 10*time.Second, "how long to wait, while nothing arrives, for a message that is missing")
}

func (a *app) parkCommand(f *loadFlags) *cobra.Command {
	s := &load.Park{}
	cmd := a.scenario(f, "park", "many polls are idle; with --metrics, what one takes", func(ctx context.Context) (*report.Report, error) {
		return runPark(ctx, f, s, "park")
	})
	parkFlags(cmd, s)
	return cmd
}

func (a *app) stormCommand(f *loadFlags) *cobra.Command {
	s := &load.Park{}
	cmd := a.scenario(f, "storm", "many idle polls drop and come back", func(ctx context.Context) (*report.Report, error) {
		return runPark(ctx, f, s, "storm")
	})
	parkFlags(cmd, s)
	cmd.Flags().DurationVar(&s.Storm, "over", time.Second, "within which time all drop")
	return cmd
}

func runPark(ctx context.Context, f *loadFlags, s *load.Park, scenario string) (_ *report.Report, err error) {
	s.Target = f.target
	if s.Worker, err = load.OwnWorker("load", workerName); err != nil {
		return nil, err
	}
	return s.Run(ctx, scenario)
}

func parkFlags(cmd *cobra.Command, s *load.Park) {
	flags := cmd.Flags()
	flags.IntVar(&s.Polls, "polls", 1000, "how many polls there are")
	flags.BoolVar(&s.Streams, "streams", false, "they are streams instead of polls")
	flags.StringSliceVar(&s.Gateways, "gateways", nil, "URLs of what holds the polls, if that is not --server")
	flags.IntVar(&s.Users, "users", 0, "how many users share them; 0 for one to fifty polls")
	flags.IntVar(&s.Probes, "probes", 20, "how many of the users are sent a message at the end")
	flags.IntVar(&s.Processes, "processes", 2, "how many processes hold the polls")
	flags.IntVar(&s.Sources, "sources", 0, "from how many addresses 127.0.0.x they come, if the server has one, too; 0 for as many as the ports demand")
	flags.DurationVar(&s.Ramp, "ramp", 2*time.Second, "how long it takes until all have been begun")
	flags.DurationVar(&s.Hold, "hold", 3*time.Second, "how long they are idle before the memory is read")
	flags.DurationVar(&s.Patience, "patience", 30*time.Second, "how long to wait until all are parked, and until all messages have arrived")
}

func (a *app) loadLoginCommand(f *loadFlags) *cobra.Command {
	s := &load.Login{}
	cmd := a.scenario(f, "login", "users log in again and again", func(ctx context.Context) (*report.Report, error) {
		s.Target = f.target
		return s.Run(ctx)
	})
	flags := cmd.Flags()
	flags.IntVar(&s.Users, "users", 20, "how many users there are")
	flags.Float64Var(&s.Rate, "rate", 0, "logins a second, by all together; 0 for a closed loop")
	flags.IntVar(&s.Concurrency, "concurrency", 8, "logins that are under way at once; with --rate, at most")
	flags.DurationVar(&s.Warmup, "warm-up", time.Second, "how long there is load before anything is measured")
	flags.DurationVar(&s.Duration, "duration", 10*time.Second, "how long it is measured")
	return cmd
}

func (a *app) inboxCommand(f *loadFlags) *cobra.Command {
	s := &load.Inbox{}
	cmd := a.scenario(f, "inbox", "one inbox is filled, and read from anywhere", func(ctx context.Context) (*report.Report, error) {
		s.Target = f.target
		return s.Run(ctx)
	})
	flags := cmd.Flags()
	flags.IntVar(&s.Messages, "messages", 10_000, "how many messages there are")
	flags.IntVar(&s.Size, "size", 400, "length of a message's content, in characters")
	flags.IntVar(&s.Concurrency, "concurrency", 64, "sends that are under way at once")
	flags.IntVar(&s.Polls, "polls", 200, "how many reads there are from a random position")
	flags.IntVar(&s.Limit, "limit", 100, "messages that each of them asks for")
	flags.DurationVar(&s.Duration, "duration", 5*time.Second, "how long sends are measured, with 1000 messages and with all")
	flags.DurationVar(&s.Patience, "patience", 10*time.Second, "how long to wait, while nothing arrives, for a message that is missing")
	return cmd
}

// workerName is the command that runs the processes that hold polls.
const workerName = "worker"

func (a *app) workerCommand() *cobra.Command {
	return &cobra.Command{
		Use: workerName, Hidden: true, Short: "hold polls for a test that runs this program", Args: args(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return untilInterrupted(fleet.Work(cmd.Context(), a.in, a.out))
		},
	}
}
