package e2e

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// commandLine is the sealpost program with a folder of profiles.
type commandLine struct {
	t            *testing.T
	binary, home string
	server       string
}

func buildCommandLine(t *testing.T, server string) *commandLine {
	c := &commandLine{t: t, binary: filepath.Join(t.TempDir(), "sealpost"), home: t.TempDir(), server: server}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", c.binary, "github.com/sealpost/sealpost/pkg/cmd/sealpost").CombinedOutput()
	require.NoError(t, err, string(out))
	return c
}

func (c *commandLine) command(args ...string) *exec.Cmd {
	cmd := exec.Command(c.binary, args...)
	cmd.Env = append(os.Environ(), "SEALPOST_HOME="+c.home, "SEALPOST_SERVER="+c.server, "SEALPOST_PASSWORD=correct horse")
	return cmd
}

// run runs a command to its end and returns what it printed.
func (c *commandLine) run(args ...string) (string, error) {
	out, err := c.command(args...).CombinedOutput()
	return string(out), err
}

func (c *commandLine) mustRun(args ...string) string {
	c.t.Helper()
	out, err := c.run(args...)
	require.NoError(c.t, err, out)
	return out
}

// chat is a running `sealpost chat`.
type chat struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	mu   sync.Mutex
	seen []string
	done chan struct{}
}

func (c *commandLine) chat(user, peer string) *chat {
	s := &chat{cmd: c.command("--user", user, "chat", peer, "--wait", "1h"), done: make(chan struct{})}
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

func (s *chat) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
	_ = s.cmd.Wait()
}

// count is how many of the lines seen contain text.
func (s *chat) count(text string) int {
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

func (s *chat) waitFor(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return s.count(text) > 0 }, time.Minute, 5*time.Millisecond, "%q did not come", text)
}

func TestTwoPeopleTalkWhileTheServerIsKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := start(t, dir, 0)
	port := portOf(t, server.url)
	c := buildCommandLine(t, server.url)
	for _, name := range []string{"Alice", "Bob", "Carol"} {
		c.mustRun("register", name)
	}
	carolsProfile, err := filepath.Glob(filepath.Join(c.home, "*", "carol", "profile.json"))
	require.NoError(t, err)
	require.Len(t, carolsProfile, 1)
	loggedIn, err := os.ReadFile(carolsProfile[0])
	require.NoError(t, err)
	c.mustRun("--user", "carol", "logout")

	alice, bob := c.chat("alice", "bob"), c.chat("bob", "alice")
	say := func(s *chat, text string) {
		_, err := fmt.Fprintln(s.in, text)
		require.NoError(t, err)
	}
	const rounds = 4
	for round := range rounds {
		question, answer := fmt.Sprintf("question %d?", round), fmt.Sprintf("answer %d!", round)
		say(alice, question)
		bob.waitFor(t, "Alice: "+question)
		server.kill()
		say(bob, answer) // while there is no server
		bob.waitFor(t, "(connection lost, trying again …)")
		server = start(t, dir, port)
		alice.waitFor(t, "Bob: "+answer)
	}
	for round := range rounds {
		require.Equal(t, 1, bob.count(fmt.Sprintf("Alice: question %d?", round)))
		require.Equal(t, 1, alice.count(fmt.Sprintf("Bob: answer %d!", round)))
	}
	history := c.mustRun("--user", "alice", "history", "--with", "bob")
	require.Equal(t, 2*rounds, strings.Count(history, "\n"), history)

	require.NoError(t, os.WriteFile(carolsProfile[0], loggedIn, 0o600))
	out, err := c.run("--user", "carol", "history")
	require.Error(t, err)
	require.Contains(t, out, "the session has ended")
}

func TestTheCommandLineSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	server := start(t, t.TempDir(), 0)
	c := buildCommandLine(t, server.url)
	c.mustRun("register", "Alice")
	for _, test := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"register", "alice"}, 1, "there are keys of alice on this machine already"},
		{[]string{"register", "no spaces please"}, 2, "cannot be a username"},
		{[]string{"register"}, 2, "takes one name"},
		{[]string{"--user", "alice", "send", "nobody_here", "-m", "x"}, 1, "there is no such user"},
		{[]string{"--user", "bob", "history"}, 1, "there is no such profile here"},
		{[]string{"history", "-n", "0"}, 2, "-n must be at least 1"},
		{[]string{"nonsense"}, 2, `no command "nonsense"`},
		{[]string{"history", "--nonsense"}, 2, "unknown flag"},
		{[]string{"--server", "http://127.0.0.1:1", "register", "zoe"}, 1, "the server cannot be reached"},
	} {
		out, err := c.run(test.args...)
		var ended *exec.ExitError
		require.ErrorAs(t, err, &ended, "%v: %s", test.args, out)
		require.Equal(t, test.status, ended.ExitCode(), "%v: %s", test.args, out)
		require.Contains(t, out, test.want, "%v", test.args)
	}
	wrong := c.command("history")
	wrong.Env = append(wrong.Env, "SEALPOST_PASSPHRASE=another")
	out, err := wrong.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "wrong passphrase")
}

func TestARotatedKeyIsWarnedOfAndOldMessagesStayReadable(t *testing.T) {
	t.Parallel()
	server := start(t, t.TempDir(), 0)
	c := buildCommandLine(t, server.url)
	c.mustRun("register", "Alice")
	c.mustRun("register", "Bob")
	c.mustRun("--user", "bob", "send", "alice", "-m", "before")
	c.mustRun("--user", "alice", "keys", "rotate")
	out, err := c.run("--user", "bob", "send", "alice", "-m", "intercept me")
	require.Error(t, err)
	require.Contains(t, out, "THE KEY OF ALICE HAS CHANGED")
	shown := func(user, other string) string {
		out, _ := c.run("--user", user, "keys", "verify", other)
		for _, line := range strings.Split(out, "\n") {
			if digits := strings.TrimSpace(line); len(digits) == 71 && digits[0] >= '0' && digits[0] <= '9' {
				return digits
			}
		}
		t.Fatalf("no safety number in %s", out)
		return ""
	}
	require.Equal(t, shown("alice", "bob"), shown("bob", "alice"))
	c.mustRun("--user", "bob", "keys", "verify", "alice", "--accept")
	c.mustRun("--user", "bob", "send", "alice", "-m", "after\x1b[2J\nalice: forged")
	history := c.mustRun("--user", "alice", "history")
	require.Contains(t, history, "Bob: before\n")
	require.Contains(t, history, "Bob: after\ufffd[2J alice: forged\n", "a message must not move the cursor, nor pass for two")
	require.NotContains(t, history, "intercept")
}
