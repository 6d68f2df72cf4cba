// Command sealpost-load puts load on a Sealpost server and checks that everything arrived once and in order.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sealpost/sealpost/deploy/test/load"
	"github.com/sealpost/sealpost/deploy/test/load/fleet"
	"github.com/sealpost/sealpost/deploy/test/load/report"
)

const (
	exitFailure = 1
	exitUsage   = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}

// run runs one command line and returns the exit status. An interrupt is no failure.
func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var wrongUse *usageError
	switch {
	case err == nil, errors.Is(err, context.Canceled):
		return 0
	case errors.As(err, &wrongUse):
		root.PrintErrln("sealpost-load:", err)
		return exitUsage
	}
	root.PrintErrln("sealpost-load:", err)
	return exitFailure
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// noArguments rejects arguments. The error names the first.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q: see `%s --help`", args[0], cmd.CommandPath())
	}
	return nil
}

const about = `Puts load on a Sealpost server, with accounts that it registers there, and reports what it measured.

The latencies of an open loop (--rate) count from the time at which a message was due, so a server that stalls cannot
hide it; "begun late" reports how late the generator itself was. Without --rate, each of --concurrency senders sends its
next message when the last one is answered. Every accepted message must arrive once at each recipient, in the order of
its positions: the exit status is 1 if one did not.

Nothing is encrypted: contents and wrapped keys are random text of the right length, which the server cannot tell from
real ones. The server must run with RATE_LIMIT=off. Give several servers as --server URL,URL.`

const defaultServer = "http://127.0.0.1:3001"

// options are the flags that all scenarios share.
type options struct {
	server     string
	target     load.Target
	json, html string
	cpu        []string
}

func newRoot() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use: "sealpost-load", Short: "put load on a Sealpost server", Long: about, SilenceErrors: true, SilenceUsage: true,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w: see `%s --help`", err, cmd.CommandPath())
	})
	all := root.PersistentFlags()
	all.StringVar(&o.server, "server", defaultServer, "addresses of the server, separated by commas")
	all.StringVar(&o.json, "json", "", "file for the report as JSON")
	all.StringVar(&o.html, "html", "", "file for the report as a page with plots")
	all.StringSliceVar(&o.target.Metrics, "metrics", nil, "URLs of /metrics of the server's processes, on their admin ports: what they use is reported")
	all.StringArrayVar(&o.cpu, "cpu", nil, "NAME=PID,PID…: the processor time of these local processes and their children is reported for each send and delivery; may be repeated")
	all.StringVar(&o.target.Prefix, "prefix", "", "beginning of the users' names; if it was used before, the users log in; default: a new one")
	all.StringVar(&o.target.Password, "users-password", "a load test's password", "password of the users")
	root.AddCommand(o.deliver(), o.pairs(), o.park(), o.storm(), o.login(), o.inbox(), worker())
	return root
}

// parse completes the target that the flags describe. Progress is shown only on a terminal.
func (o *options) parse(stderr io.Writer) error {
	o.target.Servers = strings.Split(o.server, ",")
	if file, ok := stderr.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		o.target.Progress = file
	}
	for _, text := range o.cpu {
		p, err := load.ParseProcesses(text)
		if err != nil {
			return usagef("--cpu: %w", err)
		}
		o.target.Processes = append(o.target.Processes, p)
	}
	return nil
}

// errFailed ends a test in which the server broke a promise. The report says which.
var errFailed = errors.New("the server did not keep its promises")

// report writes the report where the flags say.
func (o *options) report(out io.Writer, r *report.Report) error {
	err := r.WriteText(out)
	if o.json != "" {
		err = errors.Join(err, writeFile(o.json, r.WriteJSON))
	}
	if o.html != "" {
		err = errors.Join(err, writeFile(o.html, r.WriteHTML))
	}
	if err == nil && !r.Passed() {
		err = errFailed
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

// workerName is the command that runs the processes that hold polls.
const workerName = "worker"

func worker() *cobra.Command {
	return &cobra.Command{
		Use: workerName, Hidden: true, Short: "hold polls for a test that runs this program", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fleet.Work(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
