package pebble

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// A store is open in one process, so that another one has to ask that for a backup. Where it answers stands in a file beside the store, with
// a secret, for the owner of the folder alone: a port of this machine that is another one each time.
const (
	requestFile = "backup.json"
	// requestTime is how long a request may take to arrive, and requestSize how long it may be.
	requestTime = 10 * time.Second
	requestSize = 64 << 10
)

// ErrNotServed means that no process answers requests for backups of a folder.
var ErrNotServed = errors.New("no server runs on the folder, or none that answers")

// address is what stands in the file.
type address struct {
	Address string `json:"address"`
	Secret  string `json:"secret"`
}

type request struct {
	Secret string `json:"secret"`
	Folder string `json:"folder"`
}

type answer struct {
	Error string `json:"error,omitempty"`
}

// Requests answers processes on this machine that ask for backups.
type Requests struct {
	file     string
	secret   string
	listener net.Listener
	backup   func(ctx context.Context, folder string) error
	// turn is held by the backup under way.
	turn  chan struct{}
	ctx   context.Context
	end   context.CancelFunc
	tasks sync.WaitGroup
}

// ServeBackups has backup called for each RequestBackup of dir, one at a time, with the folder that was asked for, until Stop. Its context
// ends when who asked has gone away.
func ServeBackups(ctx context.Context, dir string, backup func(ctx context.Context, folder string) error) (*Requests, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("backups: %w", err)
	}
	r := &Requests{file: filepath.Join(dir, requestFile), secret: rand.Text(), listener: listener, backup: backup, turn: make(chan struct{}, 1)}
	r.ctx, r.end = context.WithCancel(context.WithoutCancel(ctx))
	text, err := json.Marshal(address{Address: listener.Addr().String(), Secret: r.secret})
	if err == nil {
		err = renameio.WriteFile(r.file, text, 0o600)
	}
	if err != nil {
		r.end()
		return nil, errors.Join(fmt.Errorf("backups: %w", err), listener.Close())
	}
	r.tasks.Go(r.accept)
	return r, nil
}

// Stop ends the backup under way and answers no more.
func (r *Requests) Stop() error {
	r.end()
	err := errors.Join(r.listener.Close(), os.Remove(r.file))
	r.tasks.Wait()
	return err
}

func (r *Requests) accept() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return // it is closed
		}
		r.tasks.Go(func() {
			defer func() { _ = conn.Close() }() // the answer has arrived, or nobody waits for it
			r.serve(conn)
		})
	}
}

func (r *Requests) serve(conn net.Conn) {
	ctx, cancel := context.WithCancel(r.ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })
	defer stop()
	_ = conn.SetReadDeadline(time.Now().Add(requestTime))
	var asked request
	in := json.NewDecoder(io.LimitReader(conn, requestSize))
	if err := in.Decode(&asked); err != nil || subtle.ConstantTimeCompare([]byte(asked.Secret), []byte(r.secret)) != 1 {
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	r.tasks.Go(func() { // until the connection is closed, at either end
		_, _ = io.Copy(io.Discard, conn)
		cancel()
	})
	var done answer
	if err := r.inTurn(ctx, asked.Folder); err != nil {
		done.Error = err.Error()
	}
	_ = json.NewEncoder(conn).Encode(done)
}

func (r *Requests) inTurn(ctx context.Context, folder string) error {
	select {
	case r.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-r.turn }()
	return r.backup(ctx, folder)
}

// RequestBackup asks the process that serves backups of dir for one into folder, as that process sees it, and waits for it.
func RequestBackup(ctx context.Context, dir, folder string) error {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, requestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotServed
	}
	var at address
	if err == nil {
		err = json.Unmarshal(text, &at)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotServed, err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", at.Address)
	if err != nil { // of a process that was killed
		return fmt.Errorf("%w: %w", ErrNotServed, err)
	}
	defer func() { _ = conn.Close() }() // all that was to be read has been
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	var done answer
	err = json.NewEncoder(conn).Encode(request{Secret: at.Secret, Folder: folder})
	if err == nil {
		err = json.NewDecoder(conn).Decode(&done)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("the server ended before the backup did: %w", err)
	case done.Error != "":
		return errors.New(done.Error)
	}
	return nil
}
