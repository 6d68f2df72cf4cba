package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/blackbox/clitest"
)

func TestTwoPeopleTalkWhileTheServerIsKilled(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	server := start(t, dir, 0)
	port := portOf(t, server.url)
	c := clitest.Build(t, server.url)
	for _, name := range []string{"Alice", "Bob", "Carol"} {
		c.MustRun("register", name)
	}
	carolsProfile, err := filepath.Glob(filepath.Join(c.Home, "*", "carol", "profile.json"))
	require.NoError(t, err)
	require.Len(t, carolsProfile, 1)
	loggedIn, err := os.ReadFile(carolsProfile[0])
	require.NoError(t, err)
	c.MustRun("--user", "carol", "logout")

	alice, bob := c.Chat("alice", "bob"), c.Chat("bob", "alice")
	const rounds = 4
	for round := range rounds {
		question, answer := fmt.Sprintf("question %d?", round), fmt.Sprintf("answer %d!", round)
		alice.Say(question)
		bob.WaitFor("Alice: " + question)
		server.kill()
		bob.Say(answer) // while the server is down
		bob.WaitFor("(connection lost, trying again …)")
		server = start(t, dir, port)
		alice.WaitFor("Bob: " + answer)
	}
	for round := range rounds {
		require.Equal(t, 1, bob.Count(fmt.Sprintf("Alice: question %d?", round)))
		require.Equal(t, 1, alice.Count(fmt.Sprintf("Bob: answer %d!", round)))
	}
	history := c.MustRun("--user", "alice", "history", "--with", "bob")
	require.Equal(t, 2*rounds, strings.Count(history, "\n"), history)

	require.NoError(t, os.WriteFile(carolsProfile[0], loggedIn, 0o600))
	out, err := c.Run("--user", "carol", "history")
	require.Error(t, err)
	require.Contains(t, out, "the session has ended")
}

func TestTheCommandLineSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	server := start(t, t.TempDir(), 0)
	c := clitest.Build(t, server.url)
	c.MustRun("register", "Alice")
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
		out, err := c.Run(test.args...)
		var ended *exec.ExitError
		require.ErrorAs(t, err, &ended, "%v: %s", test.args, out)
		require.Equal(t, test.status, ended.ExitCode(), "%v: %s", test.args, out)
		require.Contains(t, out, test.want, "%v", test.args)
	}
	wrong := c.Command("history")
	wrong.Env = append(wrong.Env, "SEALPOST_PASSPHRASE=another")
	out, err := wrong.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "wrong passphrase")
}

func TestARotatedKeyIsWarnedOfAndOldMessagesStayReadable(t *testing.T) {
	t.Parallel()
	server := start(t, t.TempDir(), 0)
	c := clitest.Build(t, server.url)
	c.MustRun("register", "Alice")
	c.MustRun("register", "Bob")
	c.MustRun("--user", "bob", "send", "alice", "-m", "before")
	c.MustRun("--user", "alice", "keys", "rotate")
	out, err := c.Run("--user", "bob", "send", "alice", "-m", "intercept me")
	require.Error(t, err)
	require.Contains(t, out, "THE KEY OF ALICE HAS CHANGED")
	shown := func(user, other string) string {
		out, _ := c.Run("--user", user, "keys", "verify", other)
		for _, line := range strings.Split(out, "\n") {
			if digits := strings.TrimSpace(line); len(digits) == 71 && digits[0] >= '0' && digits[0] <= '9' {
				return digits
			}
		}
		t.Fatalf("no safety number in %s", out)
		return ""
	}
	number := shown("alice", "bob")
	require.Equal(t, number, shown("bob", "alice"))
	out, err = c.Run("--user", "bob", "keys", "verify", "alice", "--accept", "1"+number[1:len(number)-1]+"x")
	require.Error(t, err)
	require.Contains(t, out, "nothing is accepted")
	c.MustRun("--user", "bob", "keys", "verify", "alice", "--accept", number)
	c.MustRun("--user", "bob", "send", "alice", "-m", "after\x1b[2J\nalice: forged")
	history := c.MustRun("--user", "alice", "history")
	require.Contains(t, history, "Bob: before\n")
	require.Contains(t, history, "Bob: after\ufffd[2J alice: forged\n", "a message must not move the cursor, nor pass for two")
	require.NotContains(t, history, "intercept")
}
