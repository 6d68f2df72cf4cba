package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

func TestAnAddressIsWrittenInOneWay(t *testing.T) {
	for address, want := range map[string]string{
		"http://mail.example":          "http://mail.example",
		"HTTP://Mail.Example/":         "http://mail.example",
		"http://mail.example:80":       "http://mail.example",
		"https://mail.example:443//":   "https://mail.example",
		"https://mail.example:80":      "https://mail.example:80",
		"http://mail.example:":         "http://mail.example",
		"http://[::1]:80/":             "http://[::1]",
		"http://[::1]:3001":            "http://[::1]:3001",
		"https://mail.example/Post/":   "https://mail.example/Post",
		"https://mail.example/a%2Fb/":  "https://mail.example/a%2Fb",
		"https://mail.example:8443///": "https://mail.example:8443",
	} {
		u, err := parseServer(address)
		require.NoError(t, err)
		require.Equal(t, want, u.String(), address)
	}
	require.False(t, sameServer("http://mail.example", "https://mail.example"))
	require.False(t, sameServer("https://mail.example/a", "https://mail.example/A"))
}

func TestAProfileIsFoundHoweverItsServerIsWritten(t *testing.T) {
	h := newFakeServer(t)
	m := newMachine(t, h)
	address := m.server
	m.server = address + "/"
	m.mustRun("register", "Alice")
	for _, server := range []string{address, strings.Replace(address, "http", "HTTP", 1), address + "//"} {
		m.server = server
		m.mustRun("history")
		m.mustRun("login", "alice")
	}
	found, err := filepath.Glob(filepath.Join(m.home, "*", "*", profileFile))
	require.NoError(t, err)
	require.Len(t, found, 1)
	p, err := readProfile(filepath.Dir(found[0]))
	require.NoError(t, err)
	require.Equal(t, address, p.Server)
}

// TestAProfileOfBeforeIsStillFound: its server was stored as it was typed, and its folder named for that.
func TestAProfileOfBeforeIsStillFound(t *testing.T) {
	m := newMachine(t, newFakeServer(t))
	old := filepath.Join(m.home, "LOCALHOST_80", "alice")
	require.NoError(t, os.MkdirAll(old, 0o700))
	text, err := json.Marshal(profile{Server: "http://LOCALHOST:80/", Username: "Alice", Token: "t"})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(old, profileFile), text, 0o600))
	for _, server := range []string{"http://localhost", "http://LOCALHOST:80/", "HTTP://localhost/"} {
		a := &app{home: m.home, server: server}
		opened, err := a.open()
		require.NoError(t, err)
		require.Equal(t, old, opened.dir)
		again, err := a.newProfile("alice")
		require.NoError(t, err)
		require.Equal(t, old, again.dir)
	}
	a := &app{home: m.home, server: "https://localhost"}
	_, err = a.open()
	require.Error(t, err)
	other, err := a.newProfile("alice")
	require.NoError(t, err)
	require.NotEqual(t, old, other.dir)
}

const (
	composed   = "cr\u00e8me br\u00fbl\u00e9e"
	decomposed = "cre\u0300me bru\u0302le\u0301e"
)

func TestAPassphraseOpensTheKeysHoweverTheMachineComposesIt(t *testing.T) {
	for made, opened := range map[string]string{composed: decomposed, decomposed: composed, "thirteen\u00a0words": "thirteen words"} {
		h := newFakeServer(t)
		m := newMachine(t, h)
		m.password = made
		m.mustRun("register", "Alice")
		require.Equal(t, made, h.account("alice").password, "the password is sent as it was typed")
		m.password = opened
		m.mustRun("history")
	}
}

func TestKeysOfBeforeAreOpenedByThePassphraseAsItWasTyped(t *testing.T) {
	for _, typed := range []string{decomposed, "a control\tcharacter", "\xff not UTF-8"} {
		h := newFakeServer(t)
		m := newMachine(t, h)
		m.password = typed
		m.mustRun("register", "Alice")
		path := m.path("alice", keyFile)
		ring, err := keyfile.Load(path, keyPassphrases(typed)...)
		require.NoError(t, err)
		require.NoError(t, keyfile.Save(path, typed, ring, 10)) // as it was made before
		h.write("alice", 1, "hello")
		require.Contains(t, m.mustRun("history"), "Bob: hello")
		require.NotContains(t, m.mustRun("login"), "WARNING")
		m.mustRun("keys", "rotate")
		_, err = keyfile.Load(path, keyPassphrases(typed)[0])
		require.NoError(t, err, "a file that is made now has the prepared form")
	}
}
