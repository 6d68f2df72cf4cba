// Command standalone is the whole server in one process: SQLite for the truth, an embedded NATS server, nothing else
// to install or set.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/services/standalone/app"
)

const usage = `standalone is the Sealpost server in one process.

  standalone             serve
  standalone healthcheck end with 0 if the server that runs here is ready
  standalone new-epoch   after a restore from a backup, with the server stopped: tell clients that the log is another one

It is set by environment variables:

`

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "standalone:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var cfg app.Config
	commands := map[string]func() error{
		"":            func() error { return app.Run(ctx, cfg, os.Stderr) },
		"healthcheck": func() error { return httpserver.Healthcheck(ctx, cfg.HTTP.AdminAddress) },
		"new-epoch": func() error {
			epoch, err := app.NewEpoch(ctx, cfg)
			_, printing := fmt.Fprintln(os.Stdout, epoch)
			return errors.Join(err, printing)
		},
	}
	chosen := commands[strings.Join(os.Args[1:], " ")]
	if chosen == nil {
		fmt.Fprint(os.Stderr, usage)
		return config.WriteHelp(os.Stderr, app.Config{})
	}
	if err := config.Load(&cfg, os.Environ()); err != nil {
		return fmt.Errorf("configuration:\n%w", err)
	}
	return chosen()
}
