package engines

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// Engine is one engine, made of one or more processes. Its methods may be called concurrently.
type Engine struct {
	name string
	url  string
	addr string
	// external: the engine existed before, and its process is unknown.
	external bool
	log      *slog.Logger
	folder   *folder
	flush    func(ctx context.Context) error

	mu       sync.Mutex
	programs []program
	// running are the processes in the order of their start; empty while the engine is stopped.
	running []*process
}

// newEngine starts an engine for the first time. If that fails, it removes the folders.
func newEngine(ctx context.Context, e *Engine) (*Engine, error) {
	if err := e.Start(ctx); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// URL is the address for clients.
func (e *Engine) URL() string { return e.url }

// Addr is host:port; empty for an engine that was not started here.
func (e *Engine) Addr() string { return e.addr }

// External reports whether the engine existed before, so that Stop, Kill and the like return ErrExternal.
func (e *Engine) External() bool { return e.external }

// Start starts a stopped or killed engine on its port and with its data, and returns when it answers. It does nothing if the engine runs.
func (e *Engine) Start(ctx context.Context) error {
	return e.control(func() error {
		if len(e.running) > 0 {
			return nil
		}
		for _, p := range e.programs {
			run, err := p.start(ctx)
			if err != nil {
				e.kill()
				return err
			}
			e.running = append(e.running, run)
		}
		e.log.Info("started", "engine", e.name, "addr", e.addr)
		return nil
	})
}

// Stop ends the engine gracefully, and by force if ctx ends first. It keeps its data.
func (e *Engine) Stop(ctx context.Context) error {
	return e.control(func() error { return e.stop(ctx) })
}

func (e *Engine) stop(ctx context.Context) error {
	if len(e.running) == 0 {
		return nil
	}
	var faults []error
	for len(e.running) > 0 {
		last := len(e.running) - 1
		faults = append(faults, e.running[last].end(ctx))
		e.running = e.running[:last]
	}
	e.log.Info("stopped", "engine", e.name)
	return errors.Join(faults...)
}

// Kill ends the engine at once (SIGKILL), as a crash would. Unwritten data is lost.
func (e *Engine) Kill() error {
	return e.control(func() error {
		e.kill()
		e.log.Info("killed", "engine", e.name)
		return nil
	})
}

func (e *Engine) kill() {
	for i := len(e.running) - 1; i >= 0; i-- {
		e.running[i].kill()
	}
	e.running = nil
}

// Pause freezes the engine (SIGSTOP): connections stay open, and nothing is answered.
func (e *Engine) Pause() error { return e.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (e *Engine) Resume() error { return e.signal(syscall.SIGCONT) }

func (e *Engine) signal(s syscall.Signal) error {
	return e.control(func() error {
		var faults []error
		for _, run := range e.running {
			faults = append(faults, run.signal(s))
		}
		return errors.Join(faults...)
	})
}

// Flush removes all data of a running engine.
func (e *Engine) Flush(ctx context.Context) error {
	return e.control(func() error {
		if e.flush == nil {
			return fmt.Errorf("%s keeps nothing that could be removed", e.name)
		}
		return e.flush(ctx)
	})
}

// Backup is a copy of an engine's data at some moment.
type Backup struct{ folder string }

// Backup copies the engine's data as it is on the disk. The engine is not stopped, but frozen meanwhile.
func (e *Engine) Backup() (b Backup, err error) {
	if err := e.Pause(); err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, e.Resume()) }()
	err = e.control(func() error {
		b.folder = e.folder.file(fmt.Sprintf("backup-%d", e.folder.backups))
		e.folder.backups++
		return copyFolder(e.folder.data(), b.folder)
	})
	return b, err
}

// Restore replaces the engine's data by a backup: it kills the engine, replaces the data, and restarts it.
func (e *Engine) Restore(ctx context.Context, b Backup) error {
	if err := e.Kill(); err != nil {
		return err
	}
	err := e.control(func() error {
		if err := os.RemoveAll(e.folder.data()); err != nil {
			return err
		}
		return copyFolder(b.folder, e.folder.data())
	})
	if err != nil {
		return err
	}
	return e.Start(ctx)
}

// copyFolder copies a folder with owners and modes.
func copyFolder(from, to string) error {
	if out, err := exec.CommandContext(context.Background(), "cp", "-a", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	return nil
}

// Close ends the engine and removes its data. It leaves an external engine alone.
func (e *Engine) Close() error {
	if e.external {
		return nil
	}
	return e.control(func() error {
		return errors.Join(e.stop(context.Background()), e.folder.remove())
	})
}

// control runs one operation on the engine's processes at a time.
func (e *Engine) control(do func() error) error {
	if e.external {
		return fmt.Errorf("%s: %w", e.name, ErrExternal)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return do()
}
