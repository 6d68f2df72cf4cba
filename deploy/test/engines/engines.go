// Package engines runs the real engines that Sealpost depends on, for tests: a MongoDB-compatible server, Redis, NATS and HAProxy, each on
// a free port of 127.0.0.1 with its own data, without containers. Each can be stopped, killed, paused and restarted separately, on the same
// port and data.
//
// Missing engines are installed on demand, once, into a cache folder (see Install). An engine whose address is in MONGODB_URI, REDIS_URL or
// NATS_URL is used as it is, and neither installed nor started.
package engines

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// The environment variables with the addresses of existing engines. A command run with the engines (see Engines.Environ) finds their
// addresses in them.
const (
	MongoEnv = "MONGODB_URI"
	RedisEnv = "REDIS_URL"
	NATSEnv  = "NATS_URL"
)

// ErrExternal means that an engine was not started here, and so cannot be stopped, killed or emptied.
var ErrExternal = errors.New("the engine was not started here")

const (
	// startTimeout bounds the time until a new process answers a command.
	startTimeout = 60 * time.Second
	// stopTimeout is how long a process may take to end before it is killed.
	stopTimeout = 15 * time.Second
)

// Options select the engines.
type Options struct {
	Mongo, Redis, NATS bool
	// Log gets a line for each step; nil for none.
	Log *slog.Logger
}

// All are the options for every engine.
func All(log *slog.Logger) Options { return Options{Mongo: true, Redis: true, NATS: true, Log: log} }

func (o Options) logger() *slog.Logger {
	if o.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Log
}

// withoutExternal deselects the engines that the environment provides.
func (o Options) withoutExternal() Options {
	o.Mongo = o.Mongo && os.Getenv(MongoEnv) == ""
	o.Redis = o.Redis && os.Getenv(RedisEnv) == ""
	o.NATS = o.NATS && os.Getenv(NATSEnv) == ""
	return o
}

// Engines are running engines; those that were not selected are nil.
type Engines struct {
	Mongo, Redis, NATS *Engine
}

// Start installs what is missing and concurrently starts the engines that o selects. It returns when all of them answer; after an error
// nothing is left running.
func Start(ctx context.Context, o Options) (*Engines, error) {
	c, err := openCache(o.logger())
	if err != nil {
		return nil, err
	}
	if err := c.install(ctx, o.withoutExternal()); err != nil {
		return nil, err
	}
	var engines Engines
	var starting errgroup.Group // without a context: a failure must not leave another half started
	start := func(wanted bool, variable string, slot **Engine, start func(context.Context, cache) (*Engine, error)) {
		if !wanted {
			return
		}
		if url := os.Getenv(variable); url != "" {
			*slot = &Engine{name: variable, url: url, external: true}
			return
		}
		starting.Go(func() (err error) {
			*slot, err = start(ctx, c)
			return err
		})
	}
	start(o.Mongo, MongoEnv, &engines.Mongo, startMongo)
	start(o.Redis, RedisEnv, &engines.Redis, startRedis)
	start(o.NATS, NATSEnv, &engines.NATS, startNATS)
	if err := starting.Wait(); err != nil {
		return nil, errors.Join(err, engines.Close())
	}
	return &engines, nil
}

// Environ is the environment in which a command finds the engines: one NAME=URL for each.
func (e *Engines) Environ() []string {
	var list []string
	for variable, engine := range e.byVariable() {
		list = append(list, variable+"="+engine.URL())
	}
	return list
}

func (e *Engines) byVariable() map[string]*Engine {
	all := map[string]*Engine{MongoEnv: e.Mongo, RedisEnv: e.Redis, NATSEnv: e.NATS}
	for variable, engine := range all {
		if engine == nil {
			delete(all, variable)
		}
	}
	return all
}

// Close ends all engines that were started here and removes their data.
func (e *Engines) Close() error {
	var faults []error
	for variable, engine := range e.byVariable() {
		if err := engine.Close(); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", variable, err))
		}
	}
	return errors.Join(faults...)
}
