package networks

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost/deploy/test/engines"
	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

// Lab is a running server, and a user who sends to everybody, over a clean path.
type Lab struct {
	Tools Tools
	// Links is the kind of links.
	Links string
	log   *slog.Logger
	// folder is for everything that is written.
	folder string
	// host is where proxies and the server listen: on all addresses in a namespace of their own, else where nobody else can reach them.
	host   string
	server *engines.Engine
	// addr and admin are the server's ports, on this side.
	addr, admin string
	sender      *client.Messenger
	// key is everybody's private key, but for those of the command line.
	key    *rsa.PrivateKey
	public string
	// accounts counts those that were made.
	accounts atomic.Int64
}

const password = "correct horse"

// Start starts the server, with more settings for its environment. links is the kind of links, or empty for the best. folder is where
// everything is written.
func Start(ctx context.Context, t Tools, links, folder string, log *slog.Logger, settings ...string) (l *Lab, err error) {
	l = &Lab{Tools: t, Links: links, log: orDiscard(log), folder: folder, host: "127.0.0.1"}
	if err := openLoopback(); err != nil {
		return nil, err
	}
	if l.Links == "" {
		l.Links = BestLink()
	}
	if Isolated() {
		l.host = "0.0.0.0"
	}
	if err := l.serve(ctx, settings); err != nil {
		return nil, err
	}
	if err := l.makeSender(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// serve starts the server.
func (l *Lab) serve(ctx context.Context, settings []string) error {
	ports, err := engines.FreePorts(2)
	if err != nil {
		return err
	}
	l.addr, l.admin = fmt.Sprintf("127.0.0.1:%d", ports[0]), fmt.Sprintf("127.0.0.1:%d", ports[1])
	l.server, err = engines.StartProgram(ctx, l.log, engines.Program{
		Name: "standalone", Path: l.Tools.Standalone, Addr: l.addr,
		Env: append([]string{
			"HOST=" + l.host, fmt.Sprint("PORT=", ports[0]), "ADMIN_ADDRESS=" + l.admin, "DATA_DIR=" + filepath.Join(l.folder, "data"),
			"RATE_LIMIT=off", "CORS_ORIGINS=*", "ARGON2_MEMORY=64KiB", "ARGON2_TIME=1", "LOG_LEVEL=warn",
		}, settings...),
		Ready: func(ctx context.Context) error { return l.ready(ctx) },
	})
	return err
}

func (l *Lab) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.admin+"/readyz", nil)
	if err != nil {
		return err
	}
	req.Close = true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return errors.Join(err, res.Body.Close())
}

func (l *Lab) makeSender(ctx context.Context) (err error) {
	if l.key, err = envelope.GenerateKey(2048); err != nil {
		return err
	}
	if l.public, err = envelope.EncodePublicKey(&l.key.PublicKey); err != nil {
		return err
	}
	c, err := client.New(l.URL())
	if err != nil {
		return err
	}
	l.sender = &client.Messenger{
		Client: c, Username: "Sender", Keys: &keyfile.Ring{Keys: []keyfile.Key{{Version: 1, Private: l.key}}},
		Pins: &client.FilePins{Path: filepath.Join(l.folder, "pins.json")},
	}
	_, err = c.Register(ctx, l.sender.Username, password, l.public)
	return err
}

// URL is the server's address without anything in between.
func (l *Lab) URL() string { return "http://" + l.addr }

// ServerPid is the server's process.
func (l *Lab) ServerPid() (int, error) { return l.server.Pid() }

// Close stops the server.
func (l *Lab) Close() error { return l.server.Close() }

// file writes a file of the lab.
func (l *Lab) file(pattern, text string) (string, error) {
	f, err := os.CreateTemp(l.folder, pattern)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(text)
	return f.Name(), errors.Join(err, f.Close())
}

// chain starts proxies, the one next to the server first, and returns the port of the last one.
func (l *Lab) chain(ctx context.Context, hops []Hop) (port int, end func() error, err error) {
	var ends []func() error
	end = func() error {
		var faults []error
		for i := len(ends) - 1; i >= 0; i-- {
			faults = append(faults, ends[i]())
		}
		return errors.Join(faults...)
	}
	upstream := l.addr
	for _, hop := range hops {
		port, stop, err := hop(ctx, l, upstream)
		if err != nil {
			return 0, nil, errors.Join(err, end())
		}
		ends = append(ends, stop)
		upstream = fmt.Sprintf("127.0.0.1:%d", port)
	}
	_, last, err := net.SplitHostPort(upstream)
	if err != nil {
		return 0, nil, errors.Join(err, end())
	}
	_, err = fmt.Sscan(last, &port)
	return port, end, err
}
