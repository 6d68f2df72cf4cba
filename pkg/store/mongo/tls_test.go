package mongo

import (
	"crypto/tls"
	"net"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/internal/tlstest"
)

// TestConnectionsAreMadeWithTheTLSFilesOfTheMoment: although the driver reads them only at its start.
func TestConnectionsAreMadeWithTheTLSFilesOfTheMoment(t *testing.T) {
	first, second := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	ca, both := filepath.Join(t.TempDir(), "ca.pem"), filepath.Join(t.TempDir(), "client.pem")
	put := func(a *tlstest.Authority) {
		cert, key := a.Issue(t, "client")
		tlstest.Put(t, ca, a.PEM)
		tlstest.Put(t, both, append(key, cert...))
	}
	put(first)
	o, err := clientOptions(Config{URI: "mongodb://127.0.0.1/?tlsCAFile=" + url.QueryEscape(ca) + "&TLSCertificateKeyFile=" + url.QueryEscape(both)})
	require.NoError(t, err)
	require.NoError(t, o.Validate())
	require.Nil(t, o.TLSConfig, "or hands would be shaken twice")
	require.NotNil(t, o.Dialer)

	connect := func(server *tlstest.Authority) error {
		address, serverSays := acceptOne(t, server)
		c, err := o.Dialer.DialContext(t.Context(), "tcp", address)
		if err == nil {
			require.NoError(t, serverSays(), "the client's certificate")
			return c.Close()
		}
		_ = serverSays()
		return err
	}
	require.NoError(t, connect(first))
	require.ErrorContains(t, connect(second), "unknown authority")
	put(second)
	require.NoError(t, connect(second))
}

// acceptOne does a handshake with one client that has a certificate of the same authority, and reports the result.
func acceptOne(t *testing.T, a *tlstest.Authority) (address string, result func() error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan error, 1)
	var served sync.WaitGroup
	served.Go(func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		s := tls.Server(c, &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{a.Pair(t, "server")},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: tlstest.Pool(a),
		})
		done <- s.Handshake()
		_ = s.Close()
	})
	t.Cleanup(func() { _ = l.Close(); served.Wait() })
	return l.Addr().String(), func() error { return <-done }
}

func TestWhatTheDriverAloneCanReadIsLeftToIt(t *testing.T) {
	for what, uri := range map[string]string{
		"no TLS":             "mongodb://127.0.0.1/",
		"the system's roots": "mongodb://127.0.0.1/?tls=true",
	} {
		o, err := clientOptions(Config{URI: uri})
		require.NoError(t, err)
		require.Nil(t, o.Dialer, what)
		require.Equal(t, what != "no TLS", o.TLSConfig != nil, what)
	}
	require.Error(t, Config{URI: "mongodb://127.0.0.1/?tlsCAFile=/nowhere"}.Validate())
}
