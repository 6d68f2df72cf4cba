package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client/lockedfile"
)

// Pins stores the fingerprints of other users' keys, as known_hosts does for SSH.
type Pins interface {
	// PinFirst stores a fingerprint for a user without one, and returns the one that is then pinned. It is atomic: concurrent
	// calls, in any process, all return the one fingerprint that was pinned.
	PinFirst(username, fingerprint string) (pinned string, err error)
	// Pin stores a fingerprint in place of the previous one.
	Pin(username, fingerprint string) error
}

// KeyChangedError means that the server offers a key for a user that differs from the pinned one. The user may have rotated it, or
// somebody may be trying to read along.
type KeyChangedError struct {
	Username        string
	Pinned, Offered string
}

// Error implements error.
func (e *KeyChangedError) Error() string {
	return fmt.Sprintf("the key of %s has changed: it was %s and is now %s", e.Username, e.Pinned, e.Offered)
}

// FilePins keeps pins in a JSON file, which several processes may share. It may be used concurrently.
type FilePins struct{ Path string }

// PinFirst implements Pins.
func (p *FilePins) PinFirst(username, fingerprint string) (pinned string, err error) {
	name := api.FoldUsername(username)
	// Reading an existing pin needs no lock: the file is only ever replaced as a whole.
	pins := map[string]string{}
	if err := loadJSON(p.Path, &pins); err != nil || pins[name] != "" {
		return pins[name], err
	}
	err = p.change(func(pins map[string]string) {
		if pins[name] == "" {
			pins[name] = fingerprint
		}
		pinned = pins[name]
	})
	return pinned, err
}

// Pin implements Pins.
func (p *FilePins) Pin(username, fingerprint string) error {
	return p.change(func(pins map[string]string) { pins[api.FoldUsername(username)] = fingerprint })
}

func (p *FilePins) change(f func(pins map[string]string)) error {
	return changeJSON(p.Path, map[string]string{}, func(pins map[string]string) (map[string]string, bool) {
		f(pins)
		return pins, true
	})
}

// loadJSON reads a file into v; if the file does not exist, v stays as it is.
func loadJSON(path string, v any) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return decodeJSON(path, text, v)
}

func decodeJSON(path string, text []byte, v any) error {
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// changeJSON replaces the value in a file with what f makes of it, if f says so. No other change runs in between. If the file does
// not exist, f gets none.
func changeJSON[T any](path string, none T, f func(T) (next T, replace bool)) error {
	return lockedfile.Change(path, func(old []byte) ([]byte, error) {
		v := none
		if old != nil {
			if err := decodeJSON(path, old, &v); err != nil {
				return nil, err
			}
		}
		next, replace := f(v)
		if !replace {
			return nil, nil
		}
		text, err := json.MarshalIndent(next, "", "  ")
		return append(text, '\n'), err
	})
}
