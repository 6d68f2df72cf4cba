package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/store/mongo"
)

const usage = `%[1]s is a service of a Sealpost cluster.

  %[1]s                 serve
  %[1]s healthcheck     end with 0 if the %[1]s that runs here is ready
  %[1]s create-indexes  make what is missing in the database, and end
  %[1]s new-epoch       after a restore of the database from a backup: tell clients that the log is another one

It is set by environment variables:

`

// Main is the main function of a service, whose whole configuration is cfg and common a part of that. It returns the exit
// status.
func Main(name string, cfg any, common *Config, run func(ctx context.Context, logs io.Writer) error) int {
	if err := command(name, cfg, common, run); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

func command(name string, cfg any, common *Config, run func(ctx context.Context, logs io.Writer) error) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	commands := map[string]func() error{
		"":               func() error { return run(ctx, os.Stderr) },
		"healthcheck":    func() error { return httpserver.Healthcheck(ctx, common.HTTP.AdminAddress) },
		"create-indexes": func() error { return withStore(ctx, common, func(*mongo.Store) error { return nil }) },
		"new-epoch":      func() error { return newEpoch(ctx, common) },
	}
	args := os.Args[1:]
	chosen := commands[strings.Join(args, " ")]
	if chosen == nil {
		fmt.Fprintf(os.Stderr, usage, name)
		return config.WriteHelp(os.Stderr, cfg)
	}
	if err := config.Load(cfg, os.Environ()); err != nil {
		return fmt.Errorf("configuration:\n%w", err)
	}
	return chosen()
}

func withStore(ctx context.Context, c *Config, do func(*mongo.Store) error) error {
	s, err := mongo.Open(ctx, c.Mongo.store())
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.Close())
}

func newEpoch(ctx context.Context, c *Config) error {
	return withStore(ctx, c, func(s *mongo.Store) error {
		epoch, err := s.NewEpoch(ctx)
		if err == nil {
			_, err = fmt.Fprintln(os.Stdout, epoch)
		}
		return err
	})
}
