package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/deploy/test/blackbox/clitest"
)

// lossy is a proxy that lets the server finish a request, and then gives another answer.
type lossy struct {
	server string
	// path is the path whose next answer gets lost; once, or until it is cleared if always is set.
	path   atomic.Pointer[string]
	always bool
	answer func(w http.ResponseWriter)
}

func (l *lossy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req, err := http.NewRequestWithContext(r.Context(), r.Method, l.server+r.URL.RequestURI(), r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	req.Header = r.Header.Clone()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if lost := l.path.Load(); lost != nil && *lost == r.URL.Path && (l.always || l.path.CompareAndSwap(lost, nil)) {
		l.answer(w)
		return
	}
	w.Header().Set("Content-Type", res.Header.Get("Content-Type"))
	w.WriteHeader(res.StatusCode)
	_, _ = w.Write(body)
}

func says(status int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		_, _ = fmt.Fprintf(w, "<html>%d</html>", status)
	}
}

// lossyServer runs a server behind a lossy proxy.
func lossyServer(t *testing.T) (*process, *lossy, string) {
	server := start(t, t.TempDir(), 0)
	l := &lossy{server: server.url}
	proxy := httptest.NewServer(l)
	t.Cleanup(proxy.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return server, l, proxy.URL
}

func TestARegistrationWhoseAnswerIsLostIsFinishedAndItsMessagesOpen(t *testing.T) {
	t.Parallel()
	_, l, url := lossyServer(t)
	c := clitest.Build(t, url)
	c.MustRun("register", "Bob")
	for i, how := range []struct {
		name   string
		answer func(http.ResponseWriter)
		finish string
	}{
		{"504", says(504), "register"},
		{"a cut connection", func(http.ResponseWriter) { panic(http.ErrAbortHandler) }, "login"},
	} {
		name, path := fmt.Sprint("Alice_", i), "/api/auth/register"
		l.answer = how.answer
		l.path.Store(&path)
		out, err := c.Run("register", name)
		require.Error(t, err, how.name)
		require.Contains(t, out, "it is not known whether the server has done it", how.name)
		c.MustRun("--user", "bob", "send", name, "-m", "are you there?")
		c.MustRun(how.finish, name)
		require.Contains(t, c.MustRun("--user", name, "history"), "Bob: are you there?", how.name)
	}
}

func TestATakenNameLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	server := start(t, t.TempDir(), 0)
	theirs, ours := clitest.Build(t, server.url), clitest.Build(t, server.url)
	theirs.MustRun("register", "Alice")
	out, err := ours.Run("register", "alice")
	require.Error(t, err)
	require.Contains(t, out, "the username is taken")
	left, err := filepath.Glob(filepath.Join(ours.Home, "*", "alice"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestAChatOpensWhatIsSealedForAKeyOfAnotherTerminal: the key is rotated, and the answer lost, while the chat runs.
func TestAChatOpensWhatIsSealedForAKeyOfAnotherTerminal(t *testing.T) {
	t.Parallel()
	_, l, url := lossyServer(t)
	c := clitest.Build(t, url)
	c.MustRun("register", "Alice")
	c.MustRun("register", "Bob")
	alice := c.Chat("alice", "bob")
	alice.Say("before")
	next := c.Chat("alice", "bob")
	l.answer, l.always = says(200), true // it is repeated for some seconds
	path := "/api/users/update-key"
	l.path.Store(&path)
	out, err := c.Run("--user", "alice", "keys", "rotate")
	require.Error(t, err)
	require.Contains(t, out, "it is not known whether the server has done it")
	l.path.Store(nil)
	c.MustRun("--user", "bob", "send", "alice", "-m", "for the new key")
	alice.WaitFor("Bob: for the new key")
	next.WaitFor("Bob: for the new key")
	alice.Say("after")
	next.WaitFor("Alice to Bob: after")
	require.Contains(t, c.MustRun("--user", "alice", "keys", "rotate"), "Your key is now version 2")
	require.Contains(t, c.MustRun("--user", "bob", "history"), "Alice: after")
}
