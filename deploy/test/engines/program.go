package engines

import (
	"context"
	"errors"
	"log/slog"
	"syscall"
)

// Program is another program to run like the engines.
type Program struct {
	Name, Path string
	Args       []string
	// Env is added to this process's environment.
	Env []string
	// Addr is the host:port that it listens on.
	Addr string
	// Ready returns nil when the program answers.
	Ready func(ctx context.Context) error
	// Stop is the signal that ends it gracefully; SIGTERM if it is 0.
	Stop syscall.Signal
}

// StartProgram starts a program and returns when it answers. Its URL is http://Addr.
func StartProgram(ctx context.Context, log *slog.Logger, p Program) (*Engine, error) {
	c, err := openCache(Options{Log: log}.logger())
	if err != nil {
		return nil, err
	}
	f, err := newFolder(c.runs(), p.Name)
	if err != nil {
		return nil, err
	}
	if p.Stop == 0 {
		p.Stop = syscall.SIGTERM
	}
	return newEngine(ctx, &Engine{
		name: p.Name, addr: p.Addr, url: "http://" + p.Addr, log: c.log, folder: f,
		programs: []program{{
			name: p.Name, path: p.Path, args: p.Args, env: p.Env, logFile: f.file("log"), stop: p.Stop, ready: p.Ready,
		}},
	})
}

// errNotRunning means that a program has no process now.
var errNotRunning = errors.New("it does not run")

// Pid is the process id of an engine that runs as one process.
func (e *Engine) Pid() (pid int, err error) {
	err = e.control(func() error {
		if len(e.running) == 0 {
			return errNotRunning
		}
		pid = e.running[0].pid
		return nil
	})
	return pid, err
}

// Pids are the process ids of an engine's current processes, without their children; none for an external engine.
func (e *Engine) Pids() (list []int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, run := range e.running {
		list = append(list, run.pid)
	}
	return list
}

// Ended is closed when the engine's current process has ended, for whatever reason. Restart starts it again.
func (e *Engine) Ended() <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.running) == 0 {
		ended := make(chan struct{})
		close(ended)
		return ended
	}
	return e.running[0].done
}

// Restart starts an engine again, after killing what is left of it.
func (e *Engine) Restart(ctx context.Context) error {
	if err := e.Kill(); err != nil {
		return err
	}
	return e.Start(ctx)
}

// LogFile is where a program's output is collected, over all its runs.
func (e *Engine) LogFile() string { return e.programs[0].logFile }

// FreePorts finds n free ports of 127.0.0.1 that the system does not use for outgoing connections.
func FreePorts(n int) ([]int, error) { return freePorts(n) }
