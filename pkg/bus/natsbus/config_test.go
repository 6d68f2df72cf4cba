package natsbus_test

import (
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/bus/natsbus"
	"github.com/sealpost/sealpost/pkg/config"
)

// TestAServerThatAsksForCredentialsAndTLS accepts only clients with both.
func TestAServerThatAsksForCredentialsAndTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its self-signed certificate of 127.0.0.1
	defer web.Close()
	authority := write(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.TLS.Certificates[0].Certificate[0]}))
	operator, account, credentials := accountWithUser(t)
	resolver := &server.MemAccResolver{}
	public, err := account.key.PublicKey()
	require.NoError(t, err)
	require.NoError(t, resolver.Store(public, account.claims))
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		TLS: true, TLSConfig: web.TLS, TrustedOperators: []*jwt.OperatorClaims{operator}, AccountResolver: resolver,
	})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { stopServer(s) })
	require.True(t, s.ReadyForConnections(patience))
	url := "tls://" + s.Addr().String()

	good := natsbus.Config{Credentials: credentials, CA: authority}
	r := newReceiver()
	b := connectWith(t, url, good, r)
	require.Eventually(t, b.Connected, patience, time.Millisecond)
	_, err = b.Subscribe(t.Context(), "ann")
	require.NoError(t, err)
	require.NoError(t, b.Publish("ann", []byte("hello"), nil))
	require.Eventually(t, func() bool { return len(r.of("ann")) == 1 }, patience, time.Millisecond)

	_, other, foreign := accountWithUser(t)
	require.NotNil(t, other)
	for what, c := range map[string]natsbus.Config{
		"no credentials":                 {CA: authority},
		"credentials of another account": {Credentials: foreign, CA: authority},
		"an authority that is not known": {Credentials: credentials},
	} {
		refused := connectWith(t, url, c, newReceiver())
		require.Never(t, refused.Connected, 200*time.Millisecond, 10*time.Millisecond, what)
	}
}

func connectWith(t *testing.T, url string, c natsbus.Config, r bus.Receiver) *natsbus.Bus {
	t.Helper()
	c.URL = config.Secret(url)
	address, options, err := c.Connection(nil)
	require.NoError(t, err)
	b, err := natsbus.Connect(address, natsbus.Options{Name: t.Name(), Log: slog.New(slog.DiscardHandler), Receiver: r, NATS: options})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

// account is an account's key, and its claims as the operator signed them.
type account struct {
	key    nkeys.KeyPair
	claims string
}

// accountWithUser makes an operator with an account of one user, and that user's credentials file.
func accountWithUser(t *testing.T) (operator *jwt.OperatorClaims, a *account, credentials string) {
	t.Helper()
	operatorKey, err := nkeys.CreateOperator()
	require.NoError(t, err)
	accountKey, err := nkeys.CreateAccount()
	require.NoError(t, err)
	userKey, err := nkeys.CreateUser()
	require.NoError(t, err)
	public := func(k nkeys.KeyPair) string {
		name, err := k.PublicKey()
		require.NoError(t, err)
		return name
	}
	operator = jwt.NewOperatorClaims(public(operatorKey))
	signedOperator, err := operator.Encode(operatorKey)
	require.NoError(t, err)
	operator, err = jwt.DecodeOperatorClaims(signedOperator)
	require.NoError(t, err)
	accountClaims, err := jwt.NewAccountClaims(public(accountKey)).Encode(operatorKey)
	require.NoError(t, err)
	userClaims, err := jwt.NewUserClaims(public(userKey)).Encode(accountKey)
	require.NoError(t, err)
	seed, err := userKey.Seed()
	require.NoError(t, err)
	text, err := jwt.FormatUserConfig(userClaims, seed)
	require.NoError(t, err)
	return operator, &account{accountKey, accountClaims}, write(t, "user.creds", text)
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, content, 0o600))
	return file
}
