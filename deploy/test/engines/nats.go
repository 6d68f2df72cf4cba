package engines

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/nats-io/nats.go"
)

// startNATS starts a NATS server with core pub/sub only: it keeps no data.
func startNATS(ctx context.Context, c cache) (*Engine, error) {
	f, err := newFolder(c.runs(), "nats")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, errors.Join(err, f.remove())
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	return newEngine(ctx, &Engine{
		name: "nats", addr: addr, url: "nats://" + addr, log: c.log, folder: f,
		programs: []program{{
			name: "nats-server", path: c.natsServer(), logFile: f.file("nats.log"), stop: syscall.SIGTERM,
			args: []string{"--addr", "127.0.0.1", "--port", fmt.Sprint(port)},
			ready: func(ctx context.Context) error {
				client, err := nats.Connect("nats://"+addr, nats.NoReconnect())
				if err != nil {
					return err
				}
				defer client.Close()
				return client.FlushWithContext(ctx) // a PING that waits for its PONG
			},
		}},
	})
}
