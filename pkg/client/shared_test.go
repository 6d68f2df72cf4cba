package client_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/envelope"
)

const (
	// pinnerVariable makes the test binary a process that pins keys in the file it names.
	pinnerVariable = "SEALPOST_TEST_PINNER"
	pinners        = 4
	pinsEach       = 25
)

// pinMany waits for the end of its input, then pins keys of users that no other process pins.
func pinMany(path string) {
	_, _ = io.Copy(io.Discard, os.Stdin)
	pins := &client.FilePins{Path: path}
	for n := range pinsEach {
		if err := pins.Pin(fmt.Sprintf("user_%d_%d", os.Getpid(), n), "f"); err != nil {
			panic(err)
		}
	}
}

func pinned(t *testing.T, path string) map[string]string {
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var pins map[string]string
	require.NoError(t, json.Unmarshal(text, &pins))
	return pins
}

func TestNoPinIsLostWhereProcessesPinSideBySide(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.json")
	var guns []io.Closer
	var processes []*exec.Cmd
	for range pinners {
		p := exec.Command(os.Args[0])
		p.Env, p.Stderr = append(os.Environ(), pinnerVariable+"="+path), os.Stderr
		in, err := p.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, p.Start())
		guns, processes = append(guns, in), append(processes, p)
	}
	for _, in := range guns {
		require.NoError(t, in.Close())
	}
	for _, p := range processes {
		require.NoError(t, p.Wait())
	}
	require.Len(t, pinned(t, path), pinners*pinsEach)
}

func TestOfKeysThatAreSeenAtOnceForTheFirstTimeOneIsTrusted(t *testing.T) {
	// A lying server gives each client another key for Bob.
	const rounds = 20
	path := filepath.Join(t.TempDir(), "pins.json")
	var keys []string
	for _, k := range testKeys() {
		text, err := envelope.EncodePublicKey(&k.PublicKey)
		require.NoError(t, err)
		keys = append(keys, text)
	}
	for round := range rounds {
		name := fmt.Sprint("Bob_", round)
		var asking, done sync.WaitGroup
		asking.Add(len(keys))
		results := make([]error, len(keys))
		for i, key := range keys {
			s := newScript(t)
			s.on("GET /api/keys/user/"+name, func(w http.ResponseWriter, _ *http.Request) {
				asking.Done()
				asking.Wait()
				reply(w, 200, api.UserKeyResponse{Username: name, PublicKey: key, Version: 1})
			})
			m := s.messenger()
			m.Pins = &client.FilePins{Path: path}
			done.Go(func() { _, _, results[i] = m.TrustedKey(t.Context(), name) })
		}
		done.Wait()
		trusted := 0
		for _, err := range results {
			var changed *client.KeyChangedError
			if err == nil {
				trusted++
			} else {
				require.ErrorAs(t, err, &changed)
				require.NotEqual(t, changed.Pinned, changed.Offered)
			}
		}
		require.Equal(t, 1, trusted)
	}
	require.Len(t, pinned(t, path), rounds)
}

// TestTheCursorOfTwoReadersDoesNotGoBack: one of them processes late what the other has long read.
func TestTheCursorOfTwoReadersDoesNotGoBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cursor.json")
	kept := func() client.Cursor {
		at, err := client.FileCursor{Path: path}.Load()
		require.NoError(t, err)
		return at
	}
	s := newScript(t)
	reached := client.Cursor{}
	s.polls(
		func(w http.ResponseWriter, after string) {
			require.Equal(t, "0", after)
			require.Equal(t, []string{"message 1", "message 2", "message 3"}, readToThree(t, path))
			reached = kept()
			reply(w, 200, api.PollResponse{Type: "messages", Messages: s.inbox(1), Cursor: "e.1"})
		},
		func(w http.ResponseWriter, after string) {
			require.Equal(t, "e.1", after, "each reader goes on from where it is itself")
			require.Equal(t, client.Cursor{Text: "e.3", Position: 3}, reached)
			require.Equal(t, reached, kept())
			reply(w, 200, api.PollResponse{Type: "messages", Messages: s.inbox(2, 3, 4), Cursor: "e.4"})
		},
		func(w http.ResponseWriter, _ string) {
			require.Equal(t, client.Cursor{Text: "e.4", Position: 4}, kept())
			reply(w, 200, api.PollResponse{Type: "reset", Cursor: "f.0"})
		},
		func(w http.ResponseWriter, _ string) {
			require.Equal(t, client.Cursor{Text: "f.0", Position: 0}, kept(), "another history of the log takes the place of the one before")
			reply(w, 200, api.PollResponse{Type: "messages", Messages: s.inbox(1), Cursor: "f.1"})
		},
	)
	receive(t, s.messenger(), client.FileCursor{Path: path})
	require.Equal(t, client.Cursor{Text: "f.1", Position: 1}, kept())
}

func readToThree(t *testing.T, path string) []string {
	s := newScript(t)
	s.polls(answer(t, "0", api.PollResponse{Type: "messages", Messages: s.inbox(1, 2, 3), Cursor: "e.3"}))
	return receive(t, s.messenger(), client.FileCursor{Path: path})
}

// TestACursorGoesBackWithItsOwnReader: after a reset by the server the cursor may go back, whatever the epoch's name.
func TestACursorGoesBackWithItsOwnReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cursor.json")
	s := newScript(t)
	s.polls(
		answer(t, "0", api.PollResponse{Type: "messages", Messages: s.inbox(1, 2), Cursor: "e.2"}),
		answer(t, "e.2", api.PollResponse{Type: "reset", Cursor: "e.0"}),
		answer(t, "e.0", api.PollResponse{Type: "messages", Messages: s.inbox(1), Cursor: "e.1"}),
	)
	receive(t, s.messenger(), client.FileCursor{Path: path})
	at, err := client.FileCursor{Path: path}.Load()
	require.NoError(t, err)
	require.Equal(t, client.Cursor{Text: "e.1", Position: 1}, at)
}

func TestADamagedFileOfPinsTrustsNobody(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pins.json")
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	s := newScript(t)
	s.key("Bob", 1, testKeys()[1])
	m := s.messenger()
	m.Pins = &client.FilePins{Path: path}
	_, _, err := m.TrustedKey(t.Context(), "Bob")
	require.Error(t, err)
	require.NotErrorAs(t, err, new(*client.KeyChangedError))
	require.Error(t, m.Pins.Pin("Bob", "f"))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "{", string(text))
}
