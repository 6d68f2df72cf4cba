package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sealpost/sealpost/pkg/store/sqlite"
)

// Backup makes folder and puts into it a copy of the database as it is at one moment, and the server's key. A server may be
// running on the data folder: it goes on. The keys that sign tokens are left out; see Restore.
func Backup(ctx context.Context, cfg Config, folder string) error {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if err := sqlite.Backup(ctx, filepath.Join(cfg.DataDir, databaseFile), filepath.Join(folder, databaseFile)); err != nil {
		return errors.Join(err, os.Remove(folder))
	}
	return copyKey(cfg.DataDir, folder)
}

// Restore makes an empty data folder of what Backup made, and gives the log a new epoch: clients that have seen more than
// the copy holds are told so.
//
// Empty, so that the server makes another key that signs tokens: the copy does not know of tokens that were revoked after it
// was made, and with the old key they would be good again.
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
		if f.Name() != lockFile {
			return "", fmt.Errorf("DATA_DIR %s holds %s: restore into an empty folder", cfg.DataDir, f.Name())
		}
	}
	if err := copyKey(folder, cfg.DataDir); err != nil {
		return "", err
	}
	return a.restoreDatabase(ctx, filepath.Join(folder, databaseFile))
}

// restoreDatabase gives the copy its name only when it has its new epoch: no server may ever run on it without.
func (a *App) restoreDatabase(ctx context.Context, from string) (epoch string, err error) {
	unfinished := a.path(databaseFile + ".restoring")
	if err := sqlite.Backup(ctx, from, unfinished); err != nil {
		return "", err
	}
	s, err := sqlite.Open(ctx, unfinished)
	if err != nil {
		return "", err
	}
	epoch, err = s.NewEpoch(ctx)
	if err = errors.Join(err, s.Close()); err != nil {
		return "", err
	}
	return epoch, os.Rename(unfinished, a.path(databaseFile))
}

// copyKey copies the server's key from folder to folder. It may not be there: the server makes it when it starts for the
// first time.
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
