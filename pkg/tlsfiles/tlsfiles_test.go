package tlsfiles_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/internal/tlstest"
	"github.com/sealpost/sealpost/pkg/livefile"
	"github.com/sealpost/sealpost/pkg/tlsfiles"
)

const (
	patience = 20 * time.Second
	tick     = 5 * time.Millisecond
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server requires client certificates, and answers each client with the name in its certificate.
type server struct {
	address string
	// cert is the server's certificate, clients the authorities of the clients' certificates.
	cert    atomic.Pointer[tls.Certificate]
	clients atomic.Pointer[x509.CertPool]
}

func serve(t *testing.T, a *tlstest.Authority) *server {
	t.Helper()
	s := &server{}
	s.trust(t, a)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*s.cert.Load()},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: s.clients.Load(),
		}, nil
	}})
	require.NoError(t, err)
	s.address = l.Addr().String()
	var open sync.WaitGroup
	open.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			open.Go(func() { answer(c.(*tls.Conn)) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); open.Wait() })
	return s
}

func answer(c *tls.Conn) {
	defer func() { _ = c.Close() }()
	if c.Handshake() == nil {
		_, _ = io.WriteString(c, c.ConnectionState().PeerCertificates[0].Subject.CommonName)
	}
}

// trust makes the server use a new certificate of the first authority, and accept clients of all of them.
func (s *server) trust(t *testing.T, list ...*tlstest.Authority) {
	pair := list[0].Pair(t, "server")
	s.cert.Store(&pair)
	s.clients.Store(tlstest.Pool(list...))
}

// client is a folder of files, and a dialer that uses them.
type client struct {
	*testing.T
	dir string
	*tlsfiles.Dialer
	log bytes.Buffer
}

func newClient(t *testing.T, a *tlstest.Authority, name string) *client {
	t.Helper()
	c := &client{T: t, dir: t.TempDir()}
	c.put(a, name)
	held, err := tlsfiles.Open(livefile.NewReporter(slog.New(slog.NewTextHandler(&c.log, nil)), nil), c.names())
	require.NoError(t, err)
	c.Dialer = &tlsfiles.Dialer{Files: held, Base: &tls.Config{}} //nolint:gosec // the files' configuration sets the least version
	return c
}

func (c *client) path(name string) string { return filepath.Join(c.dir, name) }

func (c *client) names() tlsfiles.Names {
	return tlsfiles.Names{CA: c.path("ca.pem"), Cert: c.path("tls.crt"), Key: c.path("tls.key")}
}

// put replaces the files with an authority's, one after the other.
func (c *client) put(a *tlstest.Authority, name string) {
	cert, key := a.Issue(c.T, name)
	tlstest.Put(c.T, c.path("ca.pem"), a.PEM)
	tlstest.Put(c.T, c.path("tls.crt"), cert)
	tlstest.Put(c.T, c.path("tls.key"), key)
}

// name returns the client's name as the server sees it.
func (c *client) name(ctx context.Context, address string) (string, error) {
	conn, err := c.DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	text, err := io.ReadAll(conn)
	return string(text), err
}

func TestRenewedFilesAreUsedWithTheNextConnection(t *testing.T) {
	first, second := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	s := serve(t, first)
	c := newClient(t, first, "before")
	name, err := c.name(t.Context(), s.address)
	require.NoError(t, err)
	require.Equal(t, "before", name)

	s.trust(t, second)
	_, err = c.name(t.Context(), s.address)
	require.ErrorContains(t, err, "certificate signed by unknown authority")
	c.put(second, "after")
	name, err = c.name(t.Context(), s.address)
	require.NoError(t, err)
	require.Equal(t, "after", name)
}

// TestNoConnectionFailsWhileEverythingIsRenewed: authorities overlap, and files are replaced one after the other.
func TestNoConnectionFailsWhileEverythingIsRenewed(t *testing.T) {
	first, second := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	s := serve(t, first)
	c := newClient(t, first, "before")
	ctx, stop := context.WithCancel(t.Context())
	var made atomic.Int64
	var load sync.WaitGroup
	failed := make(chan error, 4)
	for range cap(failed) {
		load.Go(func() {
			for ctx.Err() == nil {
				if _, err := c.name(t.Context(), s.address); err != nil {
					failed <- err
					return
				}
				made.Add(1)
			}
		})
	}
	some := func() {
		more := made.Load() + 20
		require.Eventually(t, func() bool { return made.Load() >= more || len(failed) > 0 }, patience, tick)
	}
	some()
	tlstest.Put(t, c.path("ca.pem"), append(bytes.Clone(first.PEM), second.PEM...))
	some()
	s.trust(t, second, first)
	some()
	c.put(second, "after") // the pair does not match for a moment
	some()
	s.trust(t, second)
	some()
	stop()
	load.Wait()
	require.Empty(t, failed)
	name, err := c.name(t.Context(), s.address)
	require.NoError(t, err)
	require.Equal(t, "after", name)
}

func TestBrokenFilesLeaveWhatWasThere(t *testing.T) {
	a := tlstest.NewAuthority(t)
	s := serve(t, a)
	c := newClient(t, a, "client")
	for what, breaks := range map[string]string{"no authority": "ca.pem", "half a certificate": "tls.crt", "no key": "tls.key"} {
		c.put(a, "client")
		_, err := c.name(t.Context(), s.address)
		require.NoError(t, err)
		c.log.Reset()
		tlstest.Put(t, c.path(breaks), []byte("-----BEGIN CERT"))
		for range 2 {
			name, err := c.name(t.Context(), s.address)
			require.NoError(t, err, what)
			require.Equal(t, "client", name)
		}
		require.Equal(t, 1, strings.Count(c.log.String(), "level=ERROR"), what)
	}
}

func TestFilesThatCannotBeUsedAreRefusedAtTheStart(t *testing.T) {
	a := tlstest.NewAuthority(t)
	c := newClient(t, a, "client")
	good := c.names()
	for what, spoil := range map[string]func(*tlsfiles.Names){
		"no such authority":        func(n *tlsfiles.Names) { n.CA += "x" },
		"an authority that is key": func(n *tlsfiles.Names) { n.CA = n.Key },
		"no certificate":           func(n *tlsfiles.Names) { n.Cert = "" },
		"no key":                   func(n *tlsfiles.Names) { n.Key = "" },
		"a key that is none":       func(n *tlsfiles.Names) { n.Key = n.Cert },
	} {
		bad := good
		spoil(&bad)
		_, err := tlsfiles.Open(nil, bad)
		require.Error(t, err, what)
	}
}

func TestWithoutFilesNothingIsChanged(t *testing.T) {
	held, err := tlsfiles.Open(nil, tlsfiles.Names{})
	require.NoError(t, err)
	require.Nil(t, held.Roots())
	require.Empty(t, held.Certificate().Certificate)
	c := held.Config(&tls.Config{ServerName: "there"}) //nolint:gosec // it is what is tested
	require.Equal(t, "there", c.ServerName)
	require.EqualValues(t, tls.VersionTLS12, c.MinVersion)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = (&tlsfiles.Dialer{Files: held, Base: c}).DialContext(t.Context(), "tcp", l.Addr().String())
	require.Error(t, err)
}
