package engines

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"syscall"
)

// StartHAProxy starts a load balancer with the configuration that config makes for the address it is to listen on
// ("host:port"). It keeps nothing; its URL is http://host:port.
func StartHAProxy(ctx context.Context, log *slog.Logger, config func(listen string) string) (*Engine, error) {
	c, err := openCache(Options{Log: log}.logger())
	if err != nil {
		return nil, err
	}
	if err := c.do(ctx, c.haproxySteps()); err != nil {
		return nil, err
	}
	f, err := newFolder(c.runs(), "haproxy")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, errors.Join(err, f.remove())
	}
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	if err := os.WriteFile(f.file("haproxy.cfg"), []byte(config(addr)), 0o600); err != nil {
		return nil, errors.Join(err, f.remove())
	}
	return newEngine(ctx, &Engine{
		name: "haproxy", addr: addr, url: "http://" + addr, log: c.log, folder: f,
		programs: []program{{
			name: "haproxy", path: c.haproxy(), logFile: f.file("haproxy.log"), stop: syscall.SIGTERM,
			args: []string{"-db", "-f", f.file("haproxy.cfg")}, // -db: stay in the foreground
			ready: func(ctx context.Context) error {
				conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
				if err != nil {
					return err
				}
				return conn.Close()
			},
		}},
	})
}
