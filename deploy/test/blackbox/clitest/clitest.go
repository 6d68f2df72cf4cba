// Package clitest lets tests use the command line as people do.
package clitest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// CommandLine is the sealpost program with a folder of profiles.
type CommandLine struct {
	// Home is the folder of the profiles.
	Home           string
	t              *testing.T
	binary, server string
}

// Build builds the program for a server at an address.
func Build(t *testing.T, server string) *CommandLine {
	t.Helper()
	program := Compile(t, "pkg/cmd/sealpost")
	return &CommandLine{t: t, binary: program, Home: t.TempDir(), server: server}
}

// Compile builds the program in a folder of the repository and returns its path.
func Compile(t *testing.T, folder string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), path.Base(folder))
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")
	_, source, _, _ := runtime.Caller(0)
	// With the dependencies of its own module: the caller's may have others.
	build.Dir, build.Env = filepath.Join(filepath.Dir(source), "../../../..", folder), append(os.Environ(), "GOWORK=off")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	return program
}

// Command returns the program with arguments, not started yet.
func (c *CommandLine) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(c.binary, args...)
	cmd.Env = append(os.Environ(), "SEALPOST_HOME="+c.Home, "SEALPOST_SERVER="+c.server, "SEALPOST_PASSWORD=correct horse")
	return cmd
}

// Run runs a command to its end and returns what it printed.
func (c *CommandLine) Run(args ...string) (string, error) {
	out, err := c.Command(args...).CombinedOutput()
	return string(out), err
}

// MustRun is Run, and fails the test if the command fails.
func (c *CommandLine) MustRun(args ...string) string {
	c.t.Helper()
	out, err := c.Run(args...)
	require.NoError(c.t, err, out)
	return out
}

// Chat is a running `sealpost chat`.
type Chat struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	mu   sync.Mutex
	seen []string
	done chan struct{}
}

// Chat begins a chat of user with peer, which lasts until the test ends.
func (c *CommandLine) Chat(user, peer string) *Chat {
	c.t.Helper()
	s := &Chat{t: c.t, cmd: c.Command("--user", user, "chat", peer, "--wait", "1h"), done: make(chan struct{})}
	in, err := s.cmd.StdinPipe()
	require.NoError(c.t, err)
	s.in = in
	out, err := s.cmd.StdoutPipe()
	require.NoError(c.t, err)
	require.NoError(c.t, s.cmd.Start())
	c.t.Cleanup(s.kill)
	go func() {
		defer close(s.done)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			s.mu.Lock()
			s.seen = append(s.seen, lines.Text())
			s.mu.Unlock()
		}
	}()
	return s
}

func (s *Chat) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
	_ = s.cmd.Wait()
}

// Count returns how many of the lines seen end with a text.
func (s *Chat) Count(text string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, line := range s.seen {
		if strings.HasSuffix(line, text) {
			n++
		}
	}
	return n
}

// WaitFor waits until a line was seen that ends with a text.
func (s *Chat) WaitFor(text string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return s.Count(text) > 0 }, time.Minute, 5*time.Millisecond, "%q did not come", text)
}

// Say types a line.
func (s *Chat) Say(text string) {
	s.t.Helper()
	_, err := fmt.Fprintln(s.in, text)
	require.NoError(s.t, err)
}
