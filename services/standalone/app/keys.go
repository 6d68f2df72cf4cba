package app

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sealpost/sealpost/pkg/token"
)

const (
	signingKeyFile = "signing-key.pem"
	serverKeyFile  = "server-key.pem"
	serverKeyBits  = 4096
)

// signingKey reads the key that signs tokens, and makes it on the first start.
func signingKey(dir string) (ed25519.PrivateKey, error) {
	text, err := readOrMake(filepath.Join(dir, signingKeyFile), func() ([]byte, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		return token.EncodePrivateKey(key)
	})
	if err != nil {
		return nil, err
	}
	return token.ParsePrivateKey(text)
}

// serverPublicKey reads the deployment's own key, makes it on the first start, and returns its public half as PEM.
func serverPublicKey(dir string) (string, error) {
	path := filepath.Join(dir, serverKeyFile)
	text, err := readOrMake(path, makeServerKey)
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "", fmt.Errorf("%s holds no PEM block", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	private, ok := key.(*rsa.PrivateKey)
	if !ok {
		return "", fmt.Errorf("%s holds no RSA key", path)
	}
	der, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		return "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})), nil
}

func makeServerKey() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, serverKeyBits)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// readOrMake reads a file; if it is not there, it writes what make returns, for the owner alone. The file appears
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
