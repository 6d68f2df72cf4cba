package networks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/sealpost/sealpost/deploy/test/engines"
)

// Hop starts a proxy before upstream, "host:port", and returns its port and what ends it. The lab says where it may listen.
type Hop func(ctx context.Context, l *Lab, upstream string) (port int, end func() error, err error)

// Own is a proxy of the lab's own.
func Own(b Behaviour) Hop {
	return func(ctx context.Context, l *Lab, upstream string) (int, func() error, error) {
		return startProxy(ctx, l.host, upstream, b)
	}
}

// OurHAProxy runs HAProxy with deploy/lb/haproxy.cfg. The server plays all nodes of all services. The hop before another proxy does not
// know it from the server: the checks of health ask the server's admin port.
func OurHAProxy(ctx context.Context, l *Lab, upstream string) (int, func() error, error) {
	_, source, _, _ := runtime.Caller(0)
	configuration := filepath.Join(filepath.Dir(source), "../../lb/haproxy.cfg")
	var environ []string
	_, admin, err := net.SplitHostPort(l.admin)
	if err != nil {
		return 0, nil, err
	}
	for _, service := range []string{"AUTH", "KEYS", "MESSAGES", "POLL_GATEWAY"} {
		for node := 1; node <= 2; node++ {
			environ = append(environ, fmt.Sprintf("%s_%d=%s", service, node, upstream), fmt.Sprintf("%s_%d_ADMIN=%s", service, node, admin))
		}
	}
	return l.haproxy(ctx, configuration, environ)
}

// defaultHAProxy is what Debian's package configures, with the shortest frontend and backend there can be.
const defaultHAProxy = `
defaults
    mode http
    option httplog
    option dontlognull
    timeout connect 5000
    timeout client  50000
    timeout server  50000
frontend front
    bind "${LISTEN}"
    default_backend back
backend back
    server server1 %s
`

// DefaultHAProxy runs HAProxy as somebody does who has just installed it.
func DefaultHAProxy(ctx context.Context, l *Lab, upstream string) (int, func() error, error) {
	path, err := l.file("haproxy-*.cfg", fmt.Sprintf(defaultHAProxy, upstream))
	if err != nil {
		return 0, nil, err
	}
	return l.haproxy(ctx, path, nil)
}

func (l *Lab) haproxy(ctx context.Context, configuration string, environ []string) (int, func() error, error) {
	return l.listening(ctx, func(port int, p engines.Program) engines.Program {
		p.Name, p.Path, p.Args = HAProxy, l.Tools.Paths[HAProxy], []string{"-db", "-f", configuration}
		p.Env = slices.Concat(environ, []string{fmt.Sprintf("LISTEN=%s:%d", l.host, port)})
		return p
	})
}

// defaultNginx is a location as most guides have it: nothing but proxy_pass.
const defaultNginx = `
server {
    listen %s;
    location / {
        proxy_pass http://%s;
    }
}`

// goodNginx is one that knows of long polls and streams: see deploy/TIMEOUTS.md.
const goodNginx = `
keepalive_timeout 75s;
server {
    listen %s;
    location / {
        proxy_pass http://back;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_buffering off;
        proxy_read_timeout 75s;
    }
}
upstream back {
    server %s;
    keepalive 64;
    keepalive_timeout 60s;
}`

// nginxFrame is what both are in. Nothing outside of the lab's folder is written. It is one process: a worker would outlive a killed master.
const nginxFrame = `
daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr warn;
events {}
http {
    access_log off;
    client_body_temp_path %[1]s/body;
    proxy_temp_path %[1]s/proxy;
    fastcgi_temp_path %[1]s/fastcgi;
    uwsgi_temp_path %[1]s/uwsgi;
    scgi_temp_path %[1]s/scgi;
%[2]s
}
`

// DefaultNginx runs nginx with its defaults: HTTP/1.0 to the server, answers buffered, a connection for each request, and 60 s of patience.
func DefaultNginx(ctx context.Context, l *Lab, upstream string) (int, func() error, error) {
	return l.nginx(ctx, defaultNginx, upstream)
}

// GoodNginx runs nginx as it should be set up.
func GoodNginx(ctx context.Context, l *Lab, upstream string) (int, func() error, error) {
	return l.nginx(ctx, goodNginx, upstream)
}

func (l *Lab) nginx(ctx context.Context, server, upstream string) (int, func() error, error) {
	folder, err := os.MkdirTemp(l.folder, "nginx-")
	if err != nil {
		return 0, nil, err
	}
	return l.listening(ctx, func(port int, p engines.Program) engines.Program {
		server := fmt.Sprintf(server, fmt.Sprintf("%s:%d", l.host, port), upstream)
		path, err := l.file("nginx-*.conf", fmt.Sprintf(nginxFrame, folder, server))
		if err != nil {
			path = err.Error() // nginx will say that it is not there
		}
		p.Name, p.Path, p.Args, p.Stop = Nginx, l.Tools.Paths[Nginx], []string{"-p", folder, "-e", "stderr", "-c", path}, syscall.SIGTERM
		return p
	})
}

// listening starts a program on a free port of the lab's side, and returns when it takes connections.
func (l *Lab) listening(ctx context.Context, fill func(port int, p engines.Program) engines.Program) (int, func() error, error) {
	ports, err := engines.FreePorts(1)
	if err != nil {
		return 0, nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", ports[0])
	program := fill(ports[0], engines.Program{Addr: addr, Ready: func(ctx context.Context) error {
		conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}})
	if program.Path == "" {
		return 0, nil, errors.New(program.Name + " is not on this machine")
	}
	engine, err := engines.StartProgram(ctx, l.log, program)
	if err != nil {
		return 0, nil, err
	}
	return ports[0], engine.Close, nil
}
