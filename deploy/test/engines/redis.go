package engines

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// startRedis starts a Redis that writes each command to its append-only file before it answers, so that acknowledged commands survive a
// kill. It saves no snapshots.
func startRedis(ctx context.Context, c cache) (*Engine, error) {
	f, err := newFolder(c.runs(), "redis")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, errors.Join(err, f.remove())
	}
	if err := os.Mkdir(f.data(), 0o700); err != nil {
		return nil, errors.Join(err, f.remove())
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	with := func(do func(*redis.Client) error) error {
		// One attempt: the caller retries.
		client := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
		defer func() { _ = client.Close() }()
		return do(client)
	}
	return newEngine(ctx, &Engine{
		name: "redis", addr: addr, url: "redis://" + addr + "/0", log: c.log, folder: f,
		flush: func(ctx context.Context) error {
			return with(func(r *redis.Client) error { return r.FlushAll(ctx).Err() })
		},
		programs: []program{{
			name: "redis-server", path: c.redisServer(), logFile: f.file("redis.log"), stop: syscall.SIGTERM,
			args: []string{
				"--port", fmt.Sprint(port), "--bind", "127.0.0.1", "--dir", f.data(), "--save", "", "--appendonly", "yes",
				"--appendfsync", "always", "--daemonize", "no",
			},
			ready: func(ctx context.Context) error {
				return with(func(r *redis.Client) error { return r.Ping(ctx).Err() })
			},
		}},
	})
}
