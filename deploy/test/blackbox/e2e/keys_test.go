package e2e

import (
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/token"
)

// TestTheKeyOfADataFolderFromBeforeStillSigns: the key used to be a file beside the database; now it is in a folder.
func TestTheKeyOfADataFolderFromBeforeStillSigns(t *testing.T) {
	dir := t.TempDir()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	text, err := token.EncodePrivateKey(key)
	require.NoError(t, err)
	former := filepath.Join(dir, "signing-key.pem")
	require.NoError(t, os.WriteFile(former, text, 0o600))
	for range 2 {
		p := start(t, dir, 0)
		require.True(t, key.Equal(signingKey(t, dir)))
		require.NoFileExists(t, former)
		require.NoError(t, p.stop())
	}
}
