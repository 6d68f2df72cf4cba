package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
)

// ErrDamaged means that a copy does not hold together.
var ErrDamaged = errors.New("the database is damaged")

// Backup copies the database at from to a new file, as it is at one moment. It may be in use, by other processes as well: they
// do not wait for the copy. When Backup returns, the copy is on the disk and has been checked.
func Backup(ctx context.Context, from, to string) error {
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	err = copyInto(ctx, from, to)
	if err == nil {
		err = errors.Join(f.Sync(), check(ctx, to)) // SQLite itself does not sync such a copy
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("backup of %s: %w", from, err), os.Remove(to))
	}
	return syncFolder(filepath.Dir(to))
}

func copyInto(ctx context.Context, from, to string) error {
	return readOnly(from, func(db *sql.DB) error {
		var id int
		if err := db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&id); err != nil {
			return err
		}
		if id != applicationID {
			return errors.New("it is no database of this program")
		}
		_, err := db.ExecContext(ctx, "VACUUM INTO ?", to)
		return err
	})
}

// check reads the whole file.
func check(ctx context.Context, path string) error {
	return readOnly(path, func(db *sql.DB) error {
		var result string
		if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&result); err != nil {
			return err
		}
		if result != "ok" {
			return fmt.Errorf("%w: %s", ErrDamaged, result)
		}
		return nil
	})
}

func readOnly(path string, do func(db *sql.DB) error) error {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=ro&_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	return errors.Join(do(db), db.Close())
}

// syncFolder makes the name of a new file durable.
func syncFolder(path string) error {
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
