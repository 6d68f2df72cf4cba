package networks

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
)

// Isolate runs this test again, with the same arguments, in a network namespace of its own, and returns its exit status. done is false
// where that is not possible, or where this is that second run.
func Isolate(t Tools) (status int, done bool, err error) {
	if Isolated() || os.Getuid() != 0 || t.Paths["ip"] == "" || t.Paths["nsenter"] == "" {
		return 0, false, nil
	}
	text, err := json.Marshal(t)
	if err != nil {
		return 1, true, err
	}
	program, err := os.Executable()
	if err != nil {
		return 1, true, err
	}
	runtime.LockOSThread() // the second run ends with the thread that has started it
	defer runtime.UnlockOSThread()
	cmd := exec.Command(program, os.Args[1:]...) //nolint:gosec,noctx // this very program; its test's own time limit ends it
	cmd.Env = append(os.Environ(), toolsEnv+"="+string(text))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return max(1, ended.ExitCode()), true, nil
	}
	return 0, err == nil, nil // without the right to make a namespace, the test runs outside of one
}

// Isolated reports whether this process is in a namespace that Isolate has made.
func Isolated() bool { return os.Getenv(toolsEnv) != "" }

// namespace is a network namespace that lives as long as a process in it, which ends when its input does: with this process, at the latest.
type namespace struct {
	holder *exec.Cmd
	end    func() error
}

func newNamespace() (*namespace, error) {
	holder := exec.Command("cat") //nolint:noctx // it ends with its input
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	in, err := holder.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := holder.Start(); err != nil {
		return nil, err
	}
	n := &namespace{holder: holder, end: func() error { return errors.Join(in.Close(), holder.Wait()) }}
	if err := n.run("ip", "link", "set", "lo", "up"); err != nil {
		return nil, errors.Join(err, n.end())
	}
	return n, nil
}

// pid is a process of the namespace, by which the tools name it.
func (n *namespace) pid() string { return fmt.Sprint(n.holder.Process.Pid) }

// enter makes cmd run in the namespace. nsenter replaces itself by the command: the process is the same.
func (n *namespace) enter(cmd *exec.Cmd) error {
	nsenter, err := lookUp("nsenter")
	if err != nil {
		return err
	}
	cmd.Args = append([]string{nsenter, "--net=/proc/" + n.pid() + "/ns/net", "--", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = nsenter
	return nil
}

// run runs a command in the namespace.
func (n *namespace) run(name string, args ...string) error {
	cmd, err := command(name, args...)
	if err != nil {
		return err
	}
	if err := n.enter(cmd); err != nil {
		return err
	}
	return finish(cmd)
}

// run runs a command in this process's namespace.
func run(name string, args ...string) error {
	cmd, err := command(name, args...)
	if err != nil {
		return err
	}
	return finish(cmd)
}

func command(name string, args ...string) (*exec.Cmd, error) {
	path, err := lookUp(name)
	if err != nil {
		return nil, err
	}
	return exec.Command(path, args...), nil //nolint:gosec,noctx // network tools, which answer at once
}

func finish(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
