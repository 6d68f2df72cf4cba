package engines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// program says how to start a process of an engine, and when it is ready.
type program struct {
	name string
	path string
	args []string
	// env is added to this process's environment.
	env []string
	// root, if set, is the program's root folder (chroot); user is the account that it runs as there.
	root string
	user *syscall.Credential
	// logFile collects its output, over all its runs.
	logFile string
	// ready returns nil when the program answers a command.
	ready func(ctx context.Context) error
	// stop is the signal that ends it gracefully.
	stop syscall.Signal
}

// process is a running program.
type process struct {
	program
	pid int
	// done is closed when it has ended; err then says how.
	done chan struct{}
	err  error
}

// start starts the program and waits until it answers.
func (p program) start(ctx context.Context) (*process, error) {
	log, err := os.OpenFile(p.logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	// The context does not end it: the process outlives this call, and signals end it.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), p.path, p.args...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = p.attributes()
	run := &process{program: p, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The kernel sends the signal that ends the process with its parent when the thread that started it ends, so the thread has to
		// stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(run.done)
		err := cmd.Start()
		if err == nil {
			run.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			run.err = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: %w", p.name, err)
	}
	if err := run.waitReady(ctx); err != nil {
		run.kill()
		return nil, fmt.Errorf("%s: %w\n%s", p.name, err, tail(p.logFile))
	}
	return run, nil
}

// waitReady waits until the process answers.
func (p *process) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		err := p.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("ended at once: %w", errors.Join(p.err, err))
		case <-ctx.Done():
			return fmt.Errorf("does not answer: %w", errors.Join(ctx.Err(), err))
		case <-again.C:
		}
	}
}

// end asks the process to end, and kills it if it does not.
func (p *process) end(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	_ = syscall.Kill(p.pid, syscall.SIGCONT) // it may be paused
	_ = syscall.Kill(p.pid, p.stop)
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		p.kill()
		return fmt.Errorf("%s did not end by itself: %w\n%s", p.name, ctx.Err(), tail(p.logFile))
	}
}

// kill ends the process and all its descendants at once, even those in other process groups.
func (p *process) kill() {
	for _, pid := range append([]int{p.pid}, descendants(p.pid)...) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	<-p.done
}

func (p *process) signal(s syscall.Signal) error {
	for _, pid := range append([]int{p.pid}, descendants(p.pid)...) {
		if err := syscall.Kill(pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// descendants lists the children of a process, their children, and so on, from /proc.
func descendants(pid int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	children := map[int][]int{}
	for _, name := range stats {
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended meanwhile
		}
		// The second field is the program's name in brackets and may contain anything; the fourth is the parent.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		parent, err := strconv.Atoi(fields[1])
		if err != nil {
			continue
		}
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil {
			children[parent] = append(children[parent], child)
		}
	}
	var list []int
	for next := children[pid]; len(next) > 0; next = next[1:] {
		list = append(list, next[0])
		next = append(next, children[next[0]]...)
	}
	return list
}

// tail returns the last lines of a log, for an error message.
func tail(logFile string) string {
	const lines = 30
	text, err := os.ReadFile(logFile)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
