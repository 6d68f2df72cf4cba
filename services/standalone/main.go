// Command standalone is the whole server in one process: SQLite for the truth, an embedded NATS server, nothing else
// to install or set.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/services/standalone/app"
)

const usage = `standalone is the Sealpost server in one process.

It takes no arguments; it is set by environment variables:

`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "standalone:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) > 1 {
		fmt.Fprint(os.Stderr, usage)
		return config.WriteHelp(os.Stderr, app.Config{})
	}
	var cfg app.Config
	if err := config.Load(&cfg, os.Environ()); err != nil {
		return fmt.Errorf("configuration:\n%w", err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return app.Run(ctx, cfg, os.Stderr)
}
