package engines

import (
	"context"
	"log/slog"
	"net"
	"syscall"
)

// StartHAProxy starts a load balancer with a configuration file, adds environ to its environment, and makes it listen at addr
// ("host:port"). It keeps no data; its URL is http://addr.
func StartHAProxy(ctx context.Context, log *slog.Logger, configuration, addr string, environ []string) (*Engine, error) {
	c, err := openCache(Options{Log: log}.logger())
	if err != nil {
		return nil, err
	}
	if err := c.do(ctx, c.haproxySteps()); err != nil {
		return nil, err
	}
	return StartProgram(ctx, log, Program{
		Name: "haproxy", Path: c.haproxy(), Addr: addr, Env: environ,
		Args: []string{"-db", "-f", configuration}, // -db: stay in the foreground
		Ready: func(ctx context.Context) error {
			conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
			if err != nil {
				return err
			}
			return conn.Close()
		},
		Stop: syscall.SIGTERM,
	})
}
