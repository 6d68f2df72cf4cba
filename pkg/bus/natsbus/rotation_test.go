package natsbus_test

import (
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/bus/natsbus"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/internal/tlstest"
	"github.com/sealpost/sealpost/pkg/livefile"
	"github.com/sealpost/sealpost/pkg/logging/logtest"
)

// guarded are the options of a server that requires a password and a client certificate of an authority.
func guarded(t *testing.T, a *tlstest.Authority, port int, password string) *server.Options {
	t.Helper()
	return &server.Options{
		Host: "127.0.0.1", Port: port, NoSigs: true, NoLog: true, MaxControlLine: 4096, Username: "chat", Password: password,
		TLS: true, TLSVerify: true, TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{a.Pair(t, "server")},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: tlstest.Pool(a),
		},
	}
}

func startGuarded(t *testing.T, o *server.Options) (s *server.Server, port int) {
	t.Helper()
	s, err := server.NewServer(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { stopServer(s) })
	require.True(t, s.ReadyForConnections(patience))
	return s, s.Addr().(*net.TCPAddr).Port
}

// TestAPasswordAndCertificatesAreExchangedWithoutARestart: the server refuses the client many times in between, and the client keeps
// trying.
func TestAPasswordAndCertificatesAreExchangedWithoutARestart(t *testing.T) {
	first, second := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	s, port := startGuarded(t, guarded(t, first, server.RANDOM_PORT, "before"))
	address := s.Addr().String()

	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	put := func(a *tlstest.Authority, password string) {
		cert, key := a.Issue(t, "client")
		for name, text := range map[string][]byte{
			"ca.pem": a.PEM, "tls.crt": cert, "tls.key": key, "url": []byte("tls://chat:" + password + "@" + address + "\n"),
		} {
			tlstest.Put(t, path(name), text)
		}
	}
	put(first, "before")
	c := natsbus.Config{
		URL: config.Secret("tls://chat:before@" + address), URLFile: config.SecretFile(path("url")),
		CA: path("ca.pem"), Cert: path("tls.crt"), Key: path("tls.key"),
	}
	require.NoError(t, c.Validate())
	log := &logtest.Journal{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	url, options, err := c.Connection(livefile.NewReporter(logger, nil))
	require.NoError(t, err)
	require.NotContains(t, url, "before")
	r := newReceiver()
	b, err := natsbus.Connect(url, natsbus.Options{Name: t.Name(), Log: logger, Receiver: r, NATS: options})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	require.Eventually(t, b.Connected, patience, time.Millisecond)

	stopServer(s)
	require.Eventually(t, func() bool { return !b.Connected() }, patience, time.Millisecond)
	startGuarded(t, guarded(t, second, port, "after"))
	require.Never(t, b.Connected, time.Second, 10*time.Millisecond, "what it has is of before")

	tlstest.Put(t, path("ca.pem"), second.PEM)
	cert, key := second.Issue(t, "client")
	tlstest.Put(t, path("tls.crt"), cert)
	tlstest.Put(t, path("tls.key"), key)
	require.Never(t, b.Connected, 3*time.Second, 10*time.Millisecond, "the password is of before")
	put(second, "after")
	require.Eventually(t, b.Connected, patience, time.Millisecond)
	_, err = b.Subscribe(t.Context(), "ann")
	require.NoError(t, err)
	require.NoError(t, b.Publish("ann", []byte("hello"), nil))
	require.Eventually(t, func() bool { return len(r.of("ann")) == 1 }, patience, time.Millisecond)
	require.NotZero(t, log.Count("files reloaded"))
	require.Zero(t, log.Count("after@"))
}

func TestATokenInTheAddressAndAddressesWithoutAPasswordStay(t *testing.T) {
	for _, address := range []string{"nats://a:4222", "nats://token@a:4222,nats://b:4222", "a:4222,b:4222"} {
		file := write(t, "url", []byte(address))
		url, options, err := natsbus.Config{URL: config.Secret(address), URLFile: config.SecretFile(file)}.Connection(nil)
		require.NoError(t, err)
		require.Equal(t, address, url)
		require.Empty(t, options)
	}
	file := write(t, "url", []byte("nats://u:hunter2@h\x7f"))
	_, _, err := natsbus.Config{URLFile: config.SecretFile(file)}.Connection(nil)
	require.ErrorContains(t, err, "NATS_URL_FILE")
	require.NotContains(t, err.Error(), "hunter2")
}
