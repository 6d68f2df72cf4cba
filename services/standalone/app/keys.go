package app

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sealpost/sealpost/pkg/serverkey"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/token/keyfolder"
)

const (
	signingKeysDir = "signing-keys"
	// formerSigningKey is where the only key was before the key folder was introduced.
	formerSigningKey = "signing-key.pem"
	serverKeyFile    = "server-key.pem"
)

// signingKeys returns the folder of the keys that sign tokens. On the first start it creates the folder and the first key.
func signingKeys(dataDir string) (dir string, err error) {
	dir = filepath.Join(dataDir, signingKeysDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	signing, former := filepath.Join(dir, keyfolder.SigningFile), filepath.Join(dataDir, formerSigningKey)
	if _, missing := os.Stat(signing); errors.Is(missing, fs.ErrNotExist) {
		if err := os.Rename(former, signing); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	_, err = readOrMake(signing, func() ([]byte, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		return token.EncodePrivateKey(key)
	})
	return dir, err
}

// serverPublicKey returns the public half of the deployment's key as PEM. On the first start it creates the key.
func serverPublicKey(dir string) (string, error) {
	path := filepath.Join(dir, serverKeyFile)
	text, err := readOrMake(path, serverkey.New)
	if err != nil {
		return "", err
	}
	public, err := serverkey.Public(text)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return public, nil
}

// readOrMake reads a file. If the file does not exist, it writes what make returns, readable by the owner only. The file appears
// whole or not at all.
func readOrMake(path string, make func() ([]byte, error)) ([]byte, error) {
	text, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	if text, err = make(); err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return nil, err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(f.Name()))
	}
	return text, nil
}
