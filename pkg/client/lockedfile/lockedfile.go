// Package lockedfile keeps small files that several processes share: each is replaced whole and durably, and changed by one
// process, and one goroutine, at a time.
package lockedfile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
)

const (
	// suffix is that of the files that are locked. Files that are replaced cannot be locked themselves: who waits for the old
	// one would not notice the new one. For the same reason the locked ones are never removed.
	suffix = ".lock"
	// retryInterval is how often a lock that is taken is tried again.
	retryInterval = 5 * time.Millisecond
	// changeTimeout bounds how long a change waits for others, each of which takes milliseconds.
	changeTimeout = 30 * time.Second
)

// Lock keeps all others out who lock the same path, until unlock is called or the process ends. Nothing need be at the path,
// but its folder must exist. busy, unless nil, is called once if there is somebody to wait for. The wait ends with ctx.
func Lock(ctx context.Context, path string, busy func()) (unlock func() error, err error) {
	// Each call has an open file of its own: that is what flock(2) counts by, so goroutines keep each other out, too.
	lock := flock.New(path+suffix, flock.SetPermissions(0o600))
	locked, err := lock.TryLock()
	if err == nil && !locked {
		if busy != nil {
			busy()
		}
		_, err = lock.TryLockContext(ctx, retryInterval)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return lock.Unlock, nil
}

// Change replaces a file by what f makes of its content, nil if there is no file. No other Change of the file comes in
// between. If f returns nil or an error, the file stays as it is.
func Change(path string, f func(old []byte) ([]byte, error)) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), changeTimeout)
	defer cancel()
	unlock, err := Lock(ctx, path, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	next, err := f(old)
	if err != nil || next == nil {
		return err
	}
	return Write(path, next)
}

// Write replaces a file, for its owner alone. Readers see the old content or the new one, and once it returns nil the new one
// outlives a crash of the machine.
func Write(path string, data []byte) error {
	if err := renameio.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	// The name is in the folder, which has to be synced by itself.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = dir.Sync()
	if errors.Is(err, syscall.EINVAL) { // a file system whose folders need no sync, or have none
		err = nil
	}
	return errors.Join(err, dir.Close())
}
