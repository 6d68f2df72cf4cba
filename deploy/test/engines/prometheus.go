package engines

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
)

// StartPrometheus starts Debian's Prometheus with a configuration file. It keeps its series in the folder data, and listens at addr
// ("host:port"); its URL is http://addr.
func StartPrometheus(ctx context.Context, log *slog.Logger, configuration, data, addr string) (*Engine, error) {
	c, err := openCache(Options{Log: log}.logger())
	if err != nil {
		return nil, err
	}
	path := func() string { return find("prometheus") }
	if err := c.do(ctx, []step{c.debian("prometheus", path)}); err != nil {
		return nil, err
	}
	return StartProgram(ctx, log, Program{
		Name: "prometheus", Path: path(), Addr: addr,
		Args: []string{"--config.file=" + configuration, "--storage.tsdb.path=" + data, "--web.listen-address=" + addr, "--log.level=warn"},
		Ready: func(ctx context.Context) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/-/ready", nil)
			if err != nil {
				return err
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			if res.StatusCode != http.StatusOK {
				err = fmt.Errorf("it answers %s", res.Status)
			}
			_ = res.Body.Close()
			return err
		},
	})
}
