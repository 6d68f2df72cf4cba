// Command standalone is the whole server in one process: a Pebble database as the store, function calls as the bus, nothing else to
// install or configure.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/heapfloor"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/services/standalone/app"
)

const usage = `standalone is the Sealpost server in one process.

  standalone                 serve
  standalone healthcheck     end with 0 if the server that runs here is ready
  standalone backup FOLDER   copy the database and the server's key into a new folder; the server may run, and goes on
  standalone restore FOLDER  make an empty DATA_DIR of such a copy; clients are told that the log is another one
  standalone new-epoch       after a restore by other means, with the server stopped: tell clients so

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
	command, folder := os.Args[1:], ""
	if len(command) == 2 && !strings.HasPrefix(command[1], "-") {
		command, folder = []string{command[0], "FOLDER"}, command[1]
	}
	chosen := map[string]func() error{
		"": func() error {
			heapfloor.Set(100)
			return app.Run(ctx, cfg, os.Stderr)
		},
		"healthcheck":    func() error { return httpserver.Healthcheck(ctx, cfg.HTTP.AdminAddress) },
		"backup FOLDER":  func() error { return app.Backup(ctx, cfg, folder) },
		"restore FOLDER": func() error { return printed(app.Restore(ctx, cfg, folder)) },
		"new-epoch":      func() error { return printed(app.NewEpoch(ctx, cfg)) },
	}[strings.Join(command, " ")]
	if chosen == nil {
		fmt.Fprint(os.Stderr, usage)
		return config.WriteHelp(os.Stderr, app.Config{})
	}
	if err := config.Load(&cfg, os.Environ()); err != nil {
		return fmt.Errorf("configuration:\n%w", err)
	}
	return chosen()
}

// printed prints the epoch that a command created.
func printed(epoch string, err error) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, epoch)
	return err
}
