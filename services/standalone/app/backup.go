package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// Backup creates folder and copies into it the database, as of one moment, and the server's key. If a server is running on the data
// folder, it makes the copy and keeps running. The keys that sign tokens are left out; see Restore.
func Backup(ctx context.Context, cfg Config, folder string) (err error) {
	if folder, err = filepath.Abs(folder); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := backupStore(ctx, cfg, folder); err != nil {
		return errors.Join(err, os.RemoveAll(folder)) // we created it
	}
	return copyKey(cfg.DataDir, folder)
}

// backupStore copies the store, or asks the server that holds it for a copy.
func backupStore(ctx context.Context, cfg Config, folder string) (err error) {
	if _, err := os.Stat(filepath.Join(cfg.DataDir, storeFolder)); err != nil {
		return fmt.Errorf("DATA_DIR %s holds no database: %w", cfg.DataDir, err)
	}
	a := offline(cfg)
	defer func() { err = errors.Join(err, a.stack.Stop(context.WithoutCancel(ctx))) }()
	switch err := a.lockDataDir(ctx); {
	case errors.Is(err, errInUse):
		return askForBackup(ctx, a.path(controlSocket), folder)
	case err != nil:
		return err
	}
	if err := a.openStore(ctx); err != nil {
		return err
	}
	return a.store.Backup(ctx, filepath.Join(folder, storeFolder))
}

// Restore turns an empty data folder into a copy of the backup, and begins a new epoch of the log: clients that have seen more than
// the backup holds are told so.
//
// The folder must be empty so that the server makes a new key to sign tokens: the backup does not know of tokens revoked after it
// was made, and with the old key they would be valid again.
func Restore(ctx context.Context, cfg Config, folder string) (epoch string, err error) {
	a := offline(cfg)
	defer func() { err = errors.Join(err, a.stack.Stop(context.WithoutCancel(ctx))) }()
	if err := a.lockDataDir(ctx); err != nil {
		return "", err
	}
	files, err := os.ReadDir(cfg.DataDir)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if f.Name() != lockFile && f.Name() != controlSocket {
			return "", fmt.Errorf("DATA_DIR %s holds %s: restore into an empty folder", cfg.DataDir, f.Name())
		}
	}
	if err := copyKey(folder, cfg.DataDir); err != nil {
		return "", err
	}
	return a.restoreStore(ctx, filepath.Join(folder, storeFolder))
}

// restoreStore renames the copy to its final name only after its new epoch is stored: no server may ever run on it without one.
func (a *App) restoreStore(ctx context.Context, from string) (epoch string, err error) {
	unfinished := a.path(storeFolder + ".restoring")
	if err := pebble.Restore(ctx, from, unfinished); err != nil {
		return "", err
	}
	s, err := pebble.Open(ctx, unfinished, pebble.Options{Log: a.log})
	if err != nil {
		return "", err
	}
	epoch, err = s.NewEpoch(ctx)
	if err = errors.Join(err, s.Close()); err != nil {
		return "", err
	}
	return epoch, os.Rename(unfinished, a.path(storeFolder))
}

// copyKey copies the server's key from folder to folder. It may be missing: the server makes it on its first start.
func copyKey(from, to string) error {
	text, err := os.ReadFile(filepath.Join(from, serverKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	folder, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	return errors.Join(folder.WriteFile(serverKeyFile, text, 0o600), folder.Close())
}
