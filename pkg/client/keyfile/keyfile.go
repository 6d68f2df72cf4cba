// Package keyfile keeps a user's private keys in a file, encrypted under a passphrase with age (age-encryption.org/v1,
// scrypt). Old keys stay: messages that were sealed for them can still be opened.
package keyfile

import (
	"bytes"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"filippo.io/age"
	"github.com/google/renameio/v2"

	"github.com/sealpost/sealpost/pkg/client/envelope"
)

// ErrWrongPassphrase means that the passphrase does not open the file.
var ErrWrongPassphrase = errors.New("wrong passphrase")

// DefaultWorkFactor is the scrypt work factor, as a power of two: about a second and 256 MiB to try one passphrase.
const DefaultWorkFactor = 18

// maxWorkFactor keeps a file that somebody else has written from taking all memory.
const maxWorkFactor = 20

// maxFileBytes bounds what is decrypted: some hundred keys.
const maxFileBytes = 1 << 20

// Key is one of the user's keys.
type Key struct {
	// Version is the server's number of the key; 0 until the server has given one.
	Version int
	Private *rsa.PrivateKey
}

// Ring is all keys of a user, the current one last.
type Ring struct {
	Keys []Key
}

// Current is the key that others seal for.
func (r *Ring) Current() Key { return r.Keys[len(r.Keys)-1] }

// Candidates are the private keys to try on a message, the one of the given version first; 0 if it is not known.
func (r *Ring) Candidates(version int) []*rsa.PrivateKey {
	var first, others []*rsa.PrivateKey
	for i := len(r.Keys) - 1; i >= 0; i-- {
		if k := r.Keys[i]; version != 0 && k.Version == version {
			first = append(first, k.Private)
		} else {
			others = append(others, k.Private)
		}
	}
	return append(first, others...)
}

type storedKey struct {
	Version    int    `json:"version"`
	PrivateKey string `json:"privateKey"`
}

// Save writes the ring to a file, for its owner alone. The file is replaced whole or not at all. workFactor 0 stands
// for DefaultWorkFactor.
func Save(path, passphrase string, r *Ring, workFactor int) error {
	var stored []storedKey
	for _, k := range r.Keys {
		text, err := envelope.EncodePrivateKey(k.Private)
		if err != nil {
			return err
		}
		stored = append(stored, storedKey{k.Version, text})
	}
	text, err := json.Marshal(stored)
	if err != nil {
		return err
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	if workFactor == 0 {
		workFactor = DefaultWorkFactor
	}
	recipient.SetWorkFactor(workFactor)
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, recipient)
	if err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	_, err = w.Write(text)
	if err = errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("key file: %w", err)
	}
	return renameio.WriteFile(path, sealed.Bytes(), 0o600)
}

// Load reads a file that Save wrote.
func Load(path, passphrase string) (*Ring, error) {
	sealed, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	identity, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	identity.SetMaxWorkFactor(maxWorkFactor)
	opened, err := age.Decrypt(bytes.NewReader(sealed), identity)
	var noMatch *age.NoIdentityMatchError
	if errors.As(err, &noMatch) {
		return nil, ErrWrongPassphrase
	}
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(opened, maxFileBytes))
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", path, err)
	}
	return decode(path, text)
}

func decode(path string, text []byte) (*Ring, error) {
	var stored []storedKey
	if err := json.Unmarshal(text, &stored); err != nil || len(stored) == 0 {
		return nil, fmt.Errorf("key file %s holds no keys", path)
	}
	r := &Ring{}
	for _, s := range stored {
		private, err := envelope.ParsePrivateKey(s.PrivateKey)
		if err != nil {
			return nil, fmt.Errorf("key file %s: %w", path, err)
		}
		r.Keys = append(r.Keys, Key{s.Version, private})
	}
	return r, nil
}
