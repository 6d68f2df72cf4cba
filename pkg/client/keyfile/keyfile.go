// Package keyfile stores a user's private keys in a file, encrypted under a passphrase with age (age-encryption.org/v1, scrypt). It
// keeps old keys: messages sealed for them can still be opened.
package keyfile

import (
	"bytes"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"filippo.io/age"

	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/lockedfile"
)

// ErrWrongPassphrase means that the passphrase does not open the file.
var ErrWrongPassphrase = errors.New("wrong passphrase")

// DefaultWorkFactor is the scrypt work factor, as a power of two: trying one passphrase takes about a second and 256 MiB.
const DefaultWorkFactor = 18

// maxWorkFactor keeps a file written by someone else from taking all memory.
const maxWorkFactor = 20

// maxFileBytes bounds what is decrypted: a few hundred keys.
const maxFileBytes = 1 << 20

// Key is one of the user's keys.
type Key struct {
	// Version is the server's number of the key. It is 0 for a candidate: the key was sent, or is about to be, and it is unknown
	// whether the server gives it out.
	Version int
	Private *rsa.PrivateKey
}

// Ring is all keys of a user, in the order in which they were made. None is ever removed, not even candidates: somebody may have
// sealed a message for it.
type Ring struct {
	Keys []Key
}

// Current is the key that others seal for, as far as known: the one with the highest version.
func (r *Ring) Current() Key {
	current := r.Keys[0]
	for _, k := range r.Keys[1:] {
		if k.Version >= current.Version {
			current = k
		}
	}
	return current
}

// Candidate is the latest key of unknown status at the server; nil if there is no such key.
func (r *Ring) Candidate() *rsa.PrivateKey {
	for i := len(r.Keys) - 1; i >= 0; i-- {
		if r.Keys[i].Version == 0 {
			return r.Keys[i].Private
		}
	}
	return nil
}

// With returns the ring with another candidate.
func (r *Ring) With(candidate *rsa.PrivateKey) *Ring {
	return &Ring{Keys: append(slices.Clone(r.Keys), Key{Private: candidate})}
}

// Numbered returns the ring with the server's version numbers set on the matching candidates.
func (r *Ring) Numbered(versions map[int]*rsa.PublicKey) *Ring {
	next := &Ring{Keys: slices.Clone(r.Keys)}
	for version, public := range versions {
		for i, k := range next.Keys {
			// A key that became current again has several versions: the highest one counts for which key is current.
			if r.Keys[i].Version == 0 && k.Version < version && k.Private.PublicKey.Equal(public) {
				next.Keys[i].Version = version
			}
		}
	}
	return next
}

// Candidates returns the private keys to try on a message, the key of the given version first. version is 0 if unknown.
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

// Save writes the ring to a file that only the owner can read. It replaces the file atomically. workFactor 0 means
// DefaultWorkFactor.
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
	return lockedfile.Write(path, sealed.Bytes())
}

// File is a key file that another process may replace: keys can be rotated while others are in use.
type File struct {
	path        string
	passphrases []string
	// loaded describes the file as it was last read.
	loaded os.FileInfo
}

// Open reads a file that Save wrote with one of the passphrases.
func Open(path string, passphrases ...string) (*File, *Ring, error) {
	f := &File{path: path, passphrases: passphrases}
	r, err := f.Reload()
	return f, r, err
}

// Reload reads the file if it was replaced since the last read; otherwise it returns nil. Opening a file is slow on purpose: see
// DefaultWorkFactor.
func (f *File) Reload() (*Ring, error) {
	info, err := os.Stat(f.path) // first: if the file is replaced right after this, it is read once too often
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if f.loaded != nil && os.SameFile(info, f.loaded) && info.ModTime().Equal(f.loaded.ModTime()) {
		return nil, nil
	}
	r, err := Load(f.path, f.passphrases...)
	if err == nil {
		f.loaded = info
	}
	return r, err
}

// Load reads a file that Save wrote with one of the passphrases. It tries them in this order, and each takes its time.
func Load(path string, passphrases ...string) (*Ring, error) {
	sealed, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	for _, passphrase := range passphrases {
		ring, err := open(path, sealed, passphrase)
		if !errors.Is(err, ErrWrongPassphrase) {
			return ring, err
		}
	}
	return nil, ErrWrongPassphrase
}

func open(path string, sealed []byte, passphrase string) (*Ring, error) {
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
