package app_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
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
	folder := func(signing string) string {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "signing.pem"), []byte(signing), 0o600))
		return "JWT_KEYS_DIR=" + dir
	}
	for _, good := range []string{"JWT_SIGNING_KEY=" + private, folder(private)} {
		require.NoError(t, config.Load(&app.SigningConfig{}, []string{good}))
	}
	for _, bad := range []string{"JWT_SIGNING_KEY=" + public, folder(public), "JWT_KEYS_DIR=" + t.TempDir()} {
		name, _, _ := strings.Cut(bad, "=")
		require.ErrorContains(t, config.Load(&app.SigningConfig{}, []string{bad}), name)
	}
	for _, wrong := range [][]string{nil, {"JWT_SIGNING_KEY=" + private, folder(private)}} {
		require.ErrorContains(t, config.Load(&app.SigningConfig{}, wrong), "JWT_KEYS_DIR or JWT_SIGNING_KEY is required, and not both")
	}
}
