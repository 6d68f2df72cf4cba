package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealpost/sealpost/deploy/test/load"
	"github.com/sealpost/sealpost/deploy/test/load/report"
)

// scenario makes the command of a scenario.
func (o *options) scenario(use, short string, run func(context.Context) (*report.Report, error)) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.parse(cmd.ErrOrStderr()); err != nil {
				return err
			}
			r, err := run(cmd.Context())
			if err != nil {
				return err
			}
			return o.report(cmd.OutOrStdout(), r)
		},
	}
}

func (o *options) deliver() *cobra.Command {
	s := &load.Deliver{}
	cmd := o.scenario("deliver", "users send to each other, and all read", func(ctx context.Context) (*report.Report, error) {
		s.Target = o.target
		return s.Run(ctx, "deliver")
	})
	deliverFlags(cmd, s)
	cmd.Flags().StringVar(&s.FanOut, "fan-out", "all", "how many users each message goes to: a number, or all")
	return cmd
}

func (o *options) pairs() *cobra.Command {
	s := &load.Deliver{FanOut: "1"}
	cmd := o.scenario("pairs", "each user sends to one other, and all read", func(ctx context.Context) (*report.Report, error) {
		s.Target = o.target
		return s.Run(ctx, "pairs")
	})
	deliverFlags(cmd, s)
	return cmd
}

func deliverFlags(cmd *cobra.Command, s *load.Deliver) {
	flags := cmd.Flags()
	flags.IntVar(&s.Users, "users", 20, "number of users")
	flags.IntVar(&s.Accounts, "accounts", 0, "number of accounts; those beyond --users do nothing")
	flags.BoolVar(&s.Streams, "streams", false, "read by streams instead of polls")
	flags.IntVar(&s.Size, "size", 400, "length of a message's content, in characters")
	flags.Float64Var(&s.Rate, "rate", 0, "messages a second in total; 0 for a closed loop")
	flags.IntVar(&s.Concurrency, "concurrency", 64, "sends under way at once; with --rate, at most")
	flags.DurationVar(&s.Warmup, "warm-up", time.Second, "load before the measurement begins")
	flags.DurationVar(&s.Duration, "duration", 10*time.Second, "length of the measurement")
	flags.DurationVar(&s.Patience, "patience", 10*time.Second, "how long to wait for a missing message while nothing arrives")
}

func (o *options) park() *cobra.Command {
	s := &load.Park{}
	cmd := o.scenario("park", "hold many idle polls; with --metrics, report the memory of one", func(ctx context.Context) (*report.Report, error) {
		return o.runPark(ctx, s, "park")
	})
	parkFlags(cmd, s)
	return cmd
}

func (o *options) storm() *cobra.Command {
	s := &load.Park{}
	cmd := o.scenario("storm", "drop many idle polls and have them come back", func(ctx context.Context) (*report.Report, error) {
		return o.runPark(ctx, s, "storm")
	})
	parkFlags(cmd, s)
	cmd.Flags().DurationVar(&s.Storm, "over", time.Second, "time within which all drop")
	return cmd
}

func (o *options) runPark(ctx context.Context, s *load.Park, scenario string) (_ *report.Report, err error) {
	s.Target = o.target
	if s.Worker, err = load.OwnWorker(workerName); err != nil {
		return nil, err
	}
	return s.Run(ctx, scenario)
}

func parkFlags(cmd *cobra.Command, s *load.Park) {
	flags := cmd.Flags()
	flags.IntVar(&s.Polls, "polls", 1000, "number of polls")
	flags.BoolVar(&s.Streams, "streams", false, "hold streams instead of polls")
	flags.StringSliceVar(&s.Gateways, "gateways", nil, "URLs of the servers that hold the polls, if not --server")
	flags.IntVar(&s.Users, "users", 0, "number of users who share them; 0 for one user to fifty polls")
	flags.IntVar(&s.Probes, "probes", 20, "number of users who are sent a message at the end")
	flags.IntVar(&s.Processes, "processes", 2, "number of processes that hold the polls")
	flags.IntVar(&s.Sources, "sources", 0, "number of source addresses 127.0.0.x, if the server has a loopback address too; 0 for as many as the ports require")
	flags.DurationVar(&s.Ramp, "ramp", 2*time.Second, "time within which all are started")
	flags.DurationVar(&s.Hold, "hold", 3*time.Second, "how long they stay idle before the memory is read")
	flags.DurationVar(&s.Patience, "patience", 30*time.Second, "how long to wait until all are parked, and until all messages have arrived")
}

func (o *options) login() *cobra.Command {
	s := &load.Login{}
	cmd := o.scenario("login", "log users in again and again", func(ctx context.Context) (*report.Report, error) {
		s.Target = o.target
		return s.Run(ctx)
	})
	flags := cmd.Flags()
	flags.IntVar(&s.Users, "users", 20, "number of users")
	flags.Float64Var(&s.Rate, "rate", 0, "logins a second in total; 0 for a closed loop")
	flags.IntVar(&s.Concurrency, "concurrency", 8, "logins under way at once; with --rate, at most")
	flags.DurationVar(&s.Warmup, "warm-up", time.Second, "load before the measurement begins")
	flags.DurationVar(&s.Duration, "duration", 10*time.Second, "length of the measurement")
	return cmd
}

func (o *options) inbox() *cobra.Command {
	s := &load.Inbox{}
	cmd := o.scenario("inbox", "fill one inbox and read anywhere in it", func(ctx context.Context) (*report.Report, error) {
		s.Target = o.target
		return s.Run(ctx)
	})
	flags := cmd.Flags()
	flags.IntVar(&s.Messages, "messages", 10_000, "number of messages")
	flags.IntVar(&s.Size, "size", 400, "length of a message's content, in characters")
	flags.IntVar(&s.Concurrency, "concurrency", 64, "sends under way at once")
	flags.IntVar(&s.Polls, "polls", 200, "number of reads from random positions")
	flags.IntVar(&s.Limit, "limit", 100, "messages that each read asks for")
	flags.DurationVar(&s.Duration, "duration", 5*time.Second, "how long sends are measured, with 1000 messages and with all")
	flags.DurationVar(&s.Patience, "patience", 10*time.Second, "how long to wait for a missing message while nothing arrives")
	return cmd
}
