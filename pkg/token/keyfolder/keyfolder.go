// Package keyfolder keeps a token issuer's keys in step with a folder, while they are replaced there. The key in signing.pem signs;
// tokens of every other key in a .pem file are valid, too, and all keys are published.
package keyfolder

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/livefile"
	"github.com/sealpost/sealpost/pkg/token"
)

const (
	// SigningFile is the name of the file with the key that signs.
	SigningFile = "signing.pem"
	// PublishBeforeSigning is how long a node publishes a key before it signs with it, if the previous signing key is still there: by then
	// every verifier has fetched it, even one that caches the answer for as long as it may.
	PublishBeforeSigning = 5 * time.Minute

	interval  = 10 * time.Second
	extension = ".pem"
)

// Config says where the keys are.
type Config struct {
	// Dir is the folder. It may be a mounted Secret, whose files are links that are all replaced at once.
	Dir      string
	Reporter *livefile.Reporter
	Log      *slog.Logger
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Folder implements token.SigningKeys.
type Folder struct {
	cfg  Config
	ring atomic.Pointer[token.Keyring]

	mu sync.Mutex
	// seen is since when each key is published here; the zero time for the keys present at the start.
	seen map[string]time.Time
	// fault is what was wrong at the last read, so that it is reported only once.
	fault string
}

var _ token.SigningKeys = (*Folder)(nil)

// Open reads the folder.
func Open(cfg Config) (*Folder, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	f := &Folder{cfg: cfg, seen: map[string]time.Time{}}
	found, err := read(cfg.Dir)
	if err != nil {
		return nil, err
	}
	for _, key := range found.published {
		f.seen[token.KeyID(key)] = time.Time{}
	}
	f.ring.Store(token.NewKeyring(found.signing, found.published...))
	return f, nil
}

// Key implements token.KeySet.
func (f *Folder) Key(kid string) (ed25519.PublicKey, bool) { return f.ring.Load().Key(kid) }

// JWKS implements token.SigningKeys.
func (f *Folder) JWKS() api.JWKS { return f.ring.Load().JWKS() }

// Signing implements token.SigningKeys.
func (f *Folder) Signing() (kid string, key ed25519.PrivateKey) { return f.ring.Load().Signing() }

// Run rereads the folder regularly until ctx ends. It does not rely on file events: network file systems send none, and in a
// mounted Secret the watched file is not the one that changes.
func (f *Folder) Run(ctx context.Context) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f.Refresh()
		case <-ctx.Done():
			return
		}
	}
}

// Refresh reads the folder now. If anything in it cannot be used, all keys stay as they were.
func (f *Folder) Refresh() {
	f.mu.Lock()
	defer f.mu.Unlock()
	found, err := read(f.cfg.Dir)
	if err != nil {
		f.cfg.Reporter.Failed(f.cfg.Dir, err, err.Error() == f.fault)
		f.fault = err.Error()
		return
	}
	f.fault = ""
	published := f.publish(found.published)
	kid, signing := f.Signing()
	if next := found.signing.Public().(ed25519.PublicKey); token.KeyID(next) != kid {
		_, kept := published[kid]
		if settled := f.cfg.Now().Sub(f.seen[token.KeyID(next)]) >= PublishBeforeSigning; settled || !kept {
			signing = found.signing
			f.cfg.Log.Info("the signing key of tokens has changed", "kid", token.KeyID(next), "before", kid)
		}
	}
	f.ring.Store(token.NewKeyring(signing, found.published...))
}

// publish updates since when each key is published, and reports whether the set has changed.
func (f *Folder) publish(keys []ed25519.PublicKey) token.StaticKeySet {
	set, changed := token.NewKeySet(keys...), false
	for kid := range set {
		if _, known := f.seen[kid]; !known {
			f.seen[kid], changed = f.cfg.Now(), true
		}
	}
	for kid := range f.seen {
		if _, there := set[kid]; !there {
			delete(f.seen, kid)
			changed = true
		}
	}
	if changed {
		f.cfg.Reporter.Changed(f.cfg.Dir)
	}
	return set
}

// contents is what a folder holds.
type contents struct {
	signing   ed25519.PrivateKey
	published []ed25519.PublicKey
}

var errNoSigning = errors.New("no " + SigningFile)

func read(dir string) (contents, error) {
	var c contents
	entries, err := os.ReadDir(dir)
	if err != nil {
		return c, err
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, ".") || filepath.Ext(name) != extension {
			continue // the files that make up a mounted Secret, and other files
		}
		if err := c.add(dir, e.Name()); err != nil {
			return contents{}, fmt.Errorf("%s: %w", filepath.Join(dir, e.Name()), err)
		}
	}
	if c.signing == nil {
		return c, fmt.Errorf("%s: %w", dir, errNoSigning)
	}
	return c, nil
}

// add reads one file. Only the key that signs must be a private key.
func (c *contents) add(dir, name string) error {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	if name != SigningFile && bytes.Contains(text, []byte("PUBLIC KEY")) {
		key, err := token.ParsePublicKey(text)
		c.published = append(c.published, key)
		return err
	}
	key, err := token.ParsePrivateKey(text)
	if err != nil {
		return err
	}
	if name == SigningFile {
		c.signing = key
	}
	c.published = append(c.published, key.Public().(ed25519.PublicKey))
	return nil
}
