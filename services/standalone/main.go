// Command standalone is the whole server in one process: SQLite for the truth, an embedded NATS server, nothing else
// to install or set.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/services/standalone/app"
)

const usage = `standalone is the Sealpost server in one process.

  standalone            serve
  standalone new-epoch  after a restore from a backup, with the server stopped: tell clients that the log is another one

It is set by environment variables:

`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "standalone:", err)
		os.Exit(1)
	}
}

func run() error {
	args := os.Args[1:]
	newEpoch := len(args) == 1 && args[0] == "new-epoch"
	if len(args) > 0 && !newEpoch {
		fmt.Fprint(os.Stderr, usage)
		return config.WriteHelp(os.Stderr, app.Config{})
	}
	var cfg app.Config
	if err := config.Load(&cfg, os.Environ()); err != nil {
		return fmt.Errorf("configuration:\n%w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if newEpoch {
		epoch, err := app.NewEpoch(ctx, cfg)
		_, printing := fmt.Fprintln(os.Stdout, epoch)
		return errors.Join(err, printing)
	}
	return app.Run(ctx, cfg, os.Stderr)
}
