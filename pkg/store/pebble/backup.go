package pebble

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	engine "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/sealpost/sealpost/pkg/store"
)

// ErrDamaged means that a store or a copy of one cannot be read completely.
var ErrDamaged = errors.New("the store is damaged")

// Backup creates a folder with the store as of one moment. Writers do not wait. When it returns, the copy is on the disk and has been
// checked. If both are on one file system, tables are shared by hard links: they never change, and take no extra space until the store
// drops them.
func (s *Store) Backup(ctx context.Context, folder string) error {
	err := s.observed(ctx, "backup", func() error {
		return s.view(ctx, func() error { return s.db.Checkpoint(folder, engine.WithFlushedWAL()) })
	})
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("backup: %w", err)
	}
	if err == nil {
		err = check(ctx, folder, Options{FS: s.fs, Log: s.log})
	}
	if err != nil {
		return errors.Join(fmt.Errorf("backup: %w", err), s.fs.RemoveAll(folder))
	}
	return syncFolder(s.fs, s.fs.PathDir(folder))
}

// Check reads everything in a folder that no process has open, and returns ErrDamaged if something cannot be read.
func Check(ctx context.Context, folder string) error {
	return check(ctx, folder, Options{})
}

func check(ctx context.Context, folder string, o Options) (err error) {
	s, err := open(ctx, folder, o, true)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	err = s.view(ctx, func() error {
		return s.walk(ctx, span{}, func(key, value []byte) (more bool, err error) {
			return true, broken(key[0], s.readable(key, value))
		})
	})
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// readable reports whether a value can be read.
func (s *Store) readable(key, value []byte) (err error) {
	switch key[0] {
	case tableAccounts:
		_, err = decodeAccount(value)
	case tableKeys:
		_, err = decodeKey(0, value)
	case tableSessions, tableFurthest:
		_, err = decodeCursor(value)
	case tableMessages:
		if len(key) != 1+idLen {
			return errBadValue
		}
		_, _, err = decodeHeader(store.MessageID{}, value)
	case tableContents:
		_, err = decodeContent(store.MessageID{}, value)
	case tableEntries:
		_, err = decodeEntry("", 0, value)
	}
	return err
}

// Restore creates a folder from a copy that Backup made, for Open, and checks it. The copy stays unchanged.
func Restore(ctx context.Context, from, to string) error {
	err := os.Mkdir(to, 0o700)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	if err = copyFiles(ctx, from, to); err == nil {
		err = Check(ctx, to)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("restore of %s: %w", from, err), os.RemoveAll(to))
	}
	return syncFolder(vfs.Default, filepath.Dir(to))
}

// copyFiles copies the files of a folder without subfolders.
func copyFiles(ctx context.Context, from, to string) error {
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !f.Type().IsRegular() {
			return fmt.Errorf("%s: %w", f.Name(), ErrForeign)
		}
		if err := copyFile(filepath.Join(from, f.Name()), filepath.Join(to, f.Name())); err != nil {
			return err
		}
	}
	return syncFolder(vfs.Default, to)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was only read
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

// syncFolder makes the names in a folder durable.
func syncFolder(fs vfs.FS, path string) error {
	folder, err := fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
