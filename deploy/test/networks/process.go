package networks

import (
	"bufio"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// process is a running client. It ends with the test, however that ends.
type process struct {
	cmd *exec.Cmd
	// done is closed when the process has ended and its output was read.
	done   chan struct{}
	err    error
	stderr *tail
}

// startProcess starts cmd, calls line for each line that it prints, and keeps the end of what it complains of.
func startProcess(cmd *exec.Cmd, line func(string)) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{}), stderr: &tail{}}
	cmd.SysProcAttr = processAttributes()
	cmd.Stderr = p.stderr
	out, in := io.Pipe()
	cmd.Stdout = in
	var reading sync.WaitGroup
	reading.Go(func() {
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line(lines.Text())
		}
		_, _ = io.Copy(io.Discard, out) // a line that is too long must not stop the program
	})
	started := make(chan error)
	go func() {
		// The kernel ends the process when the thread that started it ends: it has to stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
		}
		_ = in.Close()
		reading.Wait()
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: %w", cmd.Path, err)
	}
	return p, nil
}

// signal sends a signal to the process and those it has started.
func (p *process) signal(s syscall.Signal) error { return syscall.Kill(-p.cmd.Process.Pid, s) }

// stop ends the process and those it has started.
func (p *process) stop() {
	_ = p.signal(syscall.SIGKILL)
	<-p.done
}

// tail keeps the last bytes written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailBytes = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-tailBytes):]
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
