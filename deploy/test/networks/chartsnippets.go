package networks

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// snippet is a file that the chart gives to a controller in an annotation.
func snippet(name string) (string, error) {
	_, source, _, _ := runtime.Caller(0)
	text, err := os.ReadFile(filepath.Join(filepath.Dir(source), "../../helm/sealpost/files/streams", name)) //nolint:gosec // of this repository
	return string(text), err
}

// ChartHAProxy is DefaultHAProxy with the chart's snippet in its backend. Without an upstream it has no server, as while no pod is ready.
func ChartHAProxy(ctx context.Context, l *Lab, upstream string) (int, func() error, error) {
	text, err := snippet("haproxy.cfg")
	if err != nil {
		return 0, nil, err
	}
	configuration := fmt.Sprintf(defaultHAProxy, upstream)
	if upstream == "" {
		configuration = strings.TrimSuffix(strings.TrimSpace(defaultHAProxy), "server server1 %s")
	}
	path, err := l.file("haproxy-*.cfg", configuration+"\n    "+text)
	if err != nil {
		return 0, nil, err
	}
	return l.haproxy(ctx, path, nil)
}

// ChartNginx is DefaultNginx with the chart's snippets in its location and its server. Without an upstream it passes requests to a port that is
// closed.
func ChartNginx(ctx context.Context, l *Lab, upstream string) (int, func() error, error) {
	location, err := snippet("nginx-location.conf")
	if err != nil {
		return 0, nil, err
	}
	server, err := snippet("nginx-server.conf")
	if err != nil {
		return 0, nil, err
	}
	if upstream == "" {
		upstream = "127.0.0.1:1"
	}
	text := strings.Replace(defaultNginx, "proxy_pass", location+"proxy_pass", 1)
	end := strings.LastIndex(text, "}")
	return l.nginx(ctx, text[:end]+server+text[end:], upstream)
}
