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

// Main is the main function of a service. cfg is its whole configuration, and common the shared part of it. It returns the exit
// status.
func Main(name string, cfg any, common *Config, run func(ctx context.Context, logs io.Writer) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	p := program{name: name, cfg: cfg, common: common, run: run, out: os.Stdout, logs: os.Stderr}
	if err := p.command(ctx, os.Args[1:], os.Environ()); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// program is a service's command line.
type program struct {
	name      string
	cfg       any
	common    *Config
	run       func(ctx context.Context, logs io.Writer) error
	out, logs io.Writer
}

func (p *program) command(ctx context.Context, args, environ []string) error {
	commands := map[string]func() error{
		"":               func() error { return p.run(ctx, p.logs) },
		"healthcheck":    func() error { return httpserver.Healthcheck(ctx, p.common.HTTP.AdminAddress) },
		"create-indexes": func() error { return p.withStore(ctx, func(*mongo.Store) error { return nil }) },
		"new-epoch":      func() error { return p.newEpoch(ctx) },
	}
	chosen := commands[strings.Join(args, " ")]
	if chosen == nil {
		_, err := fmt.Fprintf(p.logs, usage, p.name)
		return errors.Join(err, config.WriteHelp(p.logs, p.cfg))
	}
	if err := config.Load(p.cfg, environ); err != nil {
		return fmt.Errorf("configuration:\n%w", err)
	}
	return chosen()
}

func (p *program) withStore(ctx context.Context, do func(*mongo.Store) error) error {
	s, err := mongo.Open(ctx, p.common.Mongo.store())
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.Close())
}

func (p *program) newEpoch(ctx context.Context) error {
	return p.withStore(ctx, func(s *mongo.Store) error {
		epoch, err := s.NewEpoch(ctx)
		if err == nil {
			_, err = fmt.Fprintln(p.out, epoch)
		}
		return err
	})
}
