package redisclient

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/sealpost/sealpost/pkg/livefile"
	"github.com/sealpost/sealpost/pkg/tlsfiles"
)

// keepAlive is the interval of TCP keep-alive probes.
const keepAlive = 30 * time.Second

type (
	dialer      = func(ctx context.Context, network, address string) (net.Conn, error)
	credentials = func(ctx context.Context) (user, password string, err error)
)

// connecting returns functions that make each connection with the files' contents at that time. Each is nil if no file is
// configured for it.
func (c Config) connecting(base *tls.Config, files *livefile.Reporter) (dialer, credentials, error) {
	dial, err := c.dialer(base, files)
	if err != nil || c.URLFile == "" {
		return dial, nil, err
	}
	user, err := livefile.Open(files, userOf, string(c.URLFile))
	if err != nil {
		return nil, nil, fmt.Errorf("REDIS_URL_FILE: %w", err)
	}
	return dial, func(context.Context) (string, string, error) {
		u := user.Get()
		password, _ := u.Password()
		return u.Username(), password, nil
	}, nil
}

func (c Config) dialer(base *tls.Config, files *livefile.Reporter) (dialer, error) {
	names := tlsfiles.Names{CA: c.CA, Cert: c.Cert, Key: c.Key}
	if names == (tlsfiles.Names{}) {
		return nil, nil
	}
	if base == nil {
		return nil, errors.New("REDIS_CA_FILE or REDIS_CERT_FILE is set, but REDIS_URL does not begin with rediss://")
	}
	held, err := tlsfiles.Open(files, names)
	if err != nil {
		return nil, fmt.Errorf("REDIS_CA_FILE, REDIS_CERT_FILE, REDIS_KEY_FILE: %w", err)
	}
	d := &tlsfiles.Dialer{Files: held, Base: base, Net: net.Dialer{Timeout: dialTimeout, KeepAlive: keepAlive}}
	return d.DialContext, nil
}

// userOf parses a name and a password from a URL.
func userOf(contents [][]byte) (*url.Userinfo, error) {
	u, err := url.Parse(strings.TrimRight(string(contents[0]), "\r\n"))
	if err != nil || (u.Scheme != "redis" && u.Scheme != "rediss") {
		return nil, errors.New("the file holds no redis:// or rediss:// address") // the cause would show the password
	}
	return u.User, nil
}
