// Package lockedfile handles small files that several processes share: each is replaced atomically and durably, and changed by one
// process and one goroutine at a time.
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
	// suffix marks the lock files. A file that is replaced cannot be the lock: a process that waits for the old file would not
	// notice the new one. For the same reason lock files are never removed.
	suffix = ".lock"
	// retryInterval is how often a taken lock is tried again.
	retryInterval = 5 * time.Millisecond
	// changeTimeout bounds how long a change waits for other changes, which take milliseconds each.
	changeTimeout = 30 * time.Second
)

// Lock excludes all other holders of the same path's lock until unlock is called or the process ends. The path need not exist, but
// its folder must. busy, unless nil, is called once if the lock is taken. The wait ends with ctx.
func Lock(ctx context.Context, path string, busy func()) (unlock func() error, err error) {
	// Each call opens its own file: flock(2) locks per open file, so goroutines exclude each other, too.
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

// Change replaces a file with what f makes of its content, nil if the file does not exist. No other Change of the file runs in
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

// Write replaces a file and makes it readable by the owner only. Readers see the old or the new content. Once it returns nil, the
// new content survives a crash of the machine.
func Write(path string, data []byte) error {
	if err := renameio.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	// The name is stored in the folder, which needs a separate sync.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = dir.Sync()
	if errors.Is(err, syscall.EINVAL) { // a file system whose folders need no sync, or do not support it
		err = nil
	}
	return errors.Join(err, dir.Close())
}
