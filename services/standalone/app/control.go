package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

const (
	// controlSocket is where a running server takes requests from commands on the same machine. Anyone who may write to the data
	// folder may use it.
	controlSocket = "control.sock"
	// longestSocket is the length in bytes of a Unix socket's path that every system supports.
	longestSocket = 100
	// controlHeaderTimeout bounds reading a request, which comes from the same machine.
	controlHeaderTimeout = 5 * time.Second
)

// backupRequest asks for a copy of the store in an existing folder that holds no store yet.
type backupRequest struct {
	Folder string `json:"folder"`
}

// startControl listens for commands on the same machine.
func (a *App) startControl(ctx context.Context) error {
	listener, remove, err := listenControl(ctx, a.path(controlSocket))
	if err != nil {
		return fmt.Errorf("control socket: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /backup", a.serveBackup)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: controlHeaderTimeout}
	a.stack.Push("control socket", func(ctx context.Context) error { return errors.Join(server.Shutdown(ctx), remove()) })
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("the control socket has failed", "error", err.Error())
		}
	}()
	return nil
}

// listenControl creates the socket, for the owner of the data folder only. If its path is too long, the socket is created in a
// temporary folder with a link to it. It replaces what a dead process left: this process holds the lock of the data folder.
func listenControl(ctx context.Context, path string) (l net.Listener, remove func() error, err error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	var config net.ListenConfig
	if len(path) <= longestSocket {
		l, err := config.Listen(ctx, "unix", path)
		if err != nil {
			return nil, nil, err
		}
		return l, func() error { return nil }, os.Chmod(path, 0o600)
	}
	folder, err := os.MkdirTemp("", "sealpost-")
	if err != nil {
		return nil, nil, err
	}
	remove = func() error { return errors.Join(os.RemoveAll(folder), os.Remove(path)) }
	if l, err = config.Listen(ctx, "unix", filepath.Join(folder, controlSocket)); err == nil {
		if err = os.Symlink(l.Addr().String(), path); err == nil {
			return l, remove, nil
		}
		err = errors.Join(err, l.Close())
	}
	return nil, nil, errors.Join(err, os.RemoveAll(folder))
}

// maxControlBytes bounds a request on the control socket, which names a folder, and its answer, which is an error's text.
const maxControlBytes = 64 << 10

func (a *App) serveBackup(w http.ResponseWriter, r *http.Request) {
	var q backupRequest
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBytes)).Decode(&q)
	if err == nil && !filepath.IsAbs(q.Folder) {
		err = errors.New("folder must be an absolute path")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if err := a.store.Backup(r.Context(), filepath.Join(q.Folder, storeFolder)); err != nil {
		a.log.Error("backup failed", "folder", q.Folder, "error", err.Error())
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	a.log.Info("backup finished", "folder", q.Folder)
}

// askForBackup asks the server that runs on a data folder to copy its store into another folder.
func askForBackup(ctx context.Context, socket, folder string) error {
	if target, err := os.Readlink(socket); err == nil {
		socket = target
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	body, err := json.Marshal(backupRequest{Folder: folder})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://standalone/backup", bytes.NewReader(body))
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("the server that runs on the data folder does not answer: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxControlBytes))
	if err = errors.Join(err, answer.Body.Close()); err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("the server: %s", bytes.TrimSpace(text))
	}
	return err
}
