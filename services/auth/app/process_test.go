package app_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/auth/app"
)

func signingKey(t *testing.T) (private, public string) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	text, err := token.EncodePrivateKey(key)
	require.NoError(t, err)
	der, err := x509.MarshalPKIXPublicKey(pub)
	require.NoError(t, err)
	return string(text), string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestKeysOfTokensAreTakenOrRefusedByName(t *testing.T) {
	private, public := signingKey(t)
	other, _ := signingKey(t)
	for _, good := range [][]string{
		{"JWT_SIGNING_KEY=" + private},
		{"JWT_SIGNING_KEY=" + private, "JWT_VERIFY_KEYS=" + public},
		{"JWT_SIGNING_KEY=" + private, "JWT_VERIFY_KEYS=" + other + public},
	} {
		require.NoError(t, config.Load(&app.SigningConfig{}, good))
	}
	for name, bad := range map[string][]string{
		"JWT_SIGNING_KEY": {"JWT_SIGNING_KEY=" + public},
		"JWT_VERIFY_KEYS": {"JWT_SIGNING_KEY=" + private, "JWT_VERIFY_KEYS=-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"},
	} {
		require.ErrorContains(t, config.Load(&app.SigningConfig{}, bad), name)
	}
	require.ErrorContains(t, config.Load(&app.SigningConfig{}, nil), "JWT_SIGNING_KEY")
}
