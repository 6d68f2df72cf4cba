package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/google/renameio/v2"
)

// Pins remembers the fingerprints of other users' keys, as known_hosts does for SSH.
type Pins interface {
	// Pinned returns the fingerprint that is pinned for a user, "" if there is none.
	Pinned(username string) (fingerprint string, err error)
	// Pin remembers a fingerprint, in place of the one there was.
	Pin(username, fingerprint string) error
}

// KeyChangedError means that the server offers another key for a user than the one that was pinned. The user may have
// rotated it, or somebody may be trying to read along.
type KeyChangedError struct {
	Username        string
	Pinned, Offered string
}

// Error implements error.
func (e *KeyChangedError) Error() string {
	return fmt.Sprintf("the key of %s has changed: it was %s and is now %s", e.Username, e.Pinned, e.Offered)
}

// FilePins keeps pins in a JSON file. It may be used concurrently.
type FilePins struct {
	Path string
	mu   sync.Mutex
}

// Pinned implements Pins.
func (p *FilePins) Pinned(username string) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pins, err := p.load()
	return pins[strings.ToLower(username)], err
}

// Pin implements Pins.
func (p *FilePins) Pin(username, fingerprint string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	pins, err := p.load()
	if err != nil {
		return err
	}
	pins[strings.ToLower(username)] = fingerprint
	return saveJSON(p.Path, pins)
}

func (p *FilePins) load() (map[string]string, error) {
	pins := map[string]string{}
	return pins, loadJSON(p.Path, &pins)
}

// loadJSON reads a file into v; one that is not there leaves v as it is.
func loadJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// saveJSON replaces a file, whole or not at all, for its owner alone.
func saveJSON(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, append(text, '\n'), 0o600)
}
