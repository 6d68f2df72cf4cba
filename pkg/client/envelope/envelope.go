// Package envelope seals and opens messages: AES-256-GCM with a fresh key for each message, and that key wrapped with
// RSA-OAEP-SHA-256 for each recipient. The format is that of browser clients built on the Web Crypto API.
package envelope

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
)

const (
	keyBytes = 32
	ivBytes  = 12
)

// ErrCannotOpen means that an envelope was not sealed for any of the keys, or was modified. It does not say which, or where: that
// would help an attacker.
var ErrCannotOpen = errors.New("the message cannot be opened with these keys")

// Sealed is a message in transit.
type Sealed struct {
	// Content is the ciphertext with its tag, in hex; IV is hex, too.
	Content string
	IV      string
	// Keys holds the message key wrapped for each recipient, by name, in base64.
	Keys map[string]string
}

// Seal encrypts plaintext for recipients, by name.
func Seal(plaintext []byte, recipients map[string]*rsa.PublicKey) (Sealed, error) {
	key, iv := make([]byte, keyBytes), make([]byte, ivBytes)
	_, _ = rand.Read(key) // crypto/rand.Read never fails
	_, _ = rand.Read(iv)
	gcm, err := newGCM(key)
	if err != nil {
		return Sealed{}, err
	}
	s := Sealed{Content: hex.EncodeToString(gcm.Seal(nil, iv, plaintext, nil)), IV: hex.EncodeToString(iv), Keys: map[string]string{}}
	for name, public := range recipients {
		// What is wrapped is the key as lower-case hex text, not as bytes.
		wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, public, []byte(hex.EncodeToString(key)), nil)
		if err != nil {
			return Sealed{}, fmt.Errorf("wrap the message key for %s: %w", name, err)
		}
		s.Keys[name] = base64.StdEncoding.EncodeToString(wrapped)
	}
	return s, nil
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Open decrypts content with the first of keys that unwraps the message key. Any failure is ErrCannotOpen.
func Open(content, iv, wrapped string, keys ...*rsa.PrivateKey) ([]byte, error) {
	ciphertext, err1 := hex.DecodeString(content)
	nonce, err2 := hex.DecodeString(iv)
	sealedKey, err3 := base64.StdEncoding.DecodeString(wrapped)
	if errors.Join(err1, err2, err3) != nil || len(nonce) != ivBytes {
		return nil, ErrCannotOpen
	}
	for _, private := range keys {
		key, err := unwrap(sealedKey, private)
		if err != nil {
			continue
		}
		gcm, err := newGCM(key)
		if err != nil {
			continue
		}
		if plaintext, err := gcm.Open(nil, nonce, ciphertext, nil); err == nil {
			return plaintext, nil
		}
	}
	return nil, ErrCannotOpen
}

func unwrap(sealed []byte, private *rsa.PrivateKey) ([]byte, error) {
	text, err := rsa.DecryptOAEP(sha256.New(), nil, private, sealed, nil)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(string(text))
	if err != nil || len(key) != keyBytes {
		return nil, ErrCannotOpen
	}
	return key, nil
}
