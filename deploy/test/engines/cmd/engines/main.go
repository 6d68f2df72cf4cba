// Command engines installs real engines on this machine and runs a command with them.
//
//	engines install             install what is missing, and no more
//	engines run -- CMD ARG...   start all engines, run CMD with their addresses in MONGODB_URI, REDIS_URL and NATS_URL,
//	                            stop them, and end with CMD's status
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/sealpost/sealpost/deploy/test/engines"
)

const usage = "engines install, or engines run -- COMMAND and its arguments"

// graceful is how long the command may take to end after an interrupt.
const graceful = 30 * time.Second

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status, err := execute(ctx, log, os.Args[1:])
	stop()
	if err != nil {
		log.Error("failed", "error", err.Error())
	}
	os.Exit(status)
}

func execute(ctx context.Context, log *slog.Logger, args []string) (status int, err error) {
	switch {
	case len(args) == 1 && args[0] == "install":
		if err := engines.Install(ctx, engines.All(log)); err != nil {
			return 1, err
		}
		return 0, nil
	case len(args) > 2 && args[0] == "run" && args[1] == "--":
		return run(ctx, log, args[2:])
	}
	return 2, fmt.Errorf("usage: %s", usage)
}

// run starts the engines, runs the command and returns its status.
func run(ctx context.Context, log *slog.Logger, command []string) (status int, err error) {
	running, err := engines.Start(ctx, engines.All(log))
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, running.Close()) }()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // running what it is given is its purpose
	cmd.Env = append(os.Environ(), running.Environ()...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = graceful
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(1, exit.ExitCode()), nil
	}
	if err != nil {
		return 1, fmt.Errorf("run %s: %w", command[0], err)
	}
	return 0, nil
}
