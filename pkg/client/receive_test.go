package client_test

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/envelope"
)

// memory is a cursor store that a test can inspect.
type memory struct {
	at    client.Cursor
	saved []client.Cursor
}

func (m *memory) Load() (client.Cursor, error) { return m.at, nil }

func (m *memory) Save(_, to client.Cursor) error {
	m.at = to
	m.saved = append(m.saved, to)
	return nil
}

// inbox seals messages for Alice, at the given positions.
func (s *script) inbox(positions ...int64) []api.Message {
	var list []api.Message
	for _, p := range positions {
		sealed, err := envelope.Seal(fmt.Append(nil, "message ", p), map[string]*rsa.PublicKey{"Alice": &testKeys()[0].PublicKey})
		require.NoError(s.t, err)
		list = append(list, api.Message{
			MessageID: fmt.Sprint("m", p), Seq: p, Sender: "Bob", EncryptedContent: sealed.Content, IV: sealed.IV, RecipientKeys: sealed.Keys,
		})
	}
	return list
}

// polls answers the polls one after the other, each of which must come with the expected cursor.
func (s *script) polls(steps ...func(w http.ResponseWriter, after string)) {
	n := 0
	s.on("GET /api/messages/poll", func(w http.ResponseWriter, r *http.Request) {
		if n == len(steps) {
			refuse(w, 401, api.CodeTokenRevoked) // the end of the script
			return
		}
		n++
		steps[n-1](w, r.URL.Query().Get("after"))
	})
}

// receive runs Receive to the end of the script and returns the messages it delivered.
func receive(t *testing.T, m *client.Messenger, cursors client.Cursors) []string {
	var got []string
	err := m.Receive(t.Context(), cursors, func(_ context.Context, in client.Incoming) error {
		require.NoError(t, in.Fault)
		got = append(got, string(in.Plaintext))
		return nil
	})
	require.True(t, client.IsCode(err, api.CodeTokenRevoked), "%v", err)
	return got
}

func answer(t *testing.T, wantAfter string, p api.PollResponse) func(http.ResponseWriter, string) {
	return func(w http.ResponseWriter, after string) {
		require.Equal(t, wantAfter, after)
		reply(w, 200, p)
	}
}

func TestMessagesAreReceivedInOrderAndTheCursorKept(t *testing.T) {
	s := newScript(t)
	s.polls(
		answer(t, "0", api.PollResponse{Type: "messages", Messages: s.inbox(1, 3), Skipped: []int64{2}, Cursor: "e.3"}),
		answer(t, "e.3", api.PollResponse{Type: "timeout", Cursor: "e.3"}),
		answer(t, "e.3", api.PollResponse{Type: "timeout", Skipped: []int64{4}, Cursor: "e.4"}),
		answer(t, "e.4", api.PollResponse{Type: "messages", Messages: s.inbox(5), Cursor: "e.5"}),
	)
	path := filepath.Join(t.TempDir(), "cursor.json")
	require.Equal(t, []string{"message 1", "message 3", "message 5"}, receive(t, s.messenger(), client.FileCursor{Path: path}))
	at, err := client.FileCursor{Path: path}.Load()
	require.NoError(t, err)
	require.Equal(t, client.Cursor{Text: "e.5", Position: 5}, at)
}

func TestTheCursorIsSavedOnlyAfterTheMessageWasHandled(t *testing.T) {
	s := newScript(t)
	s.polls(answer(t, "0", api.PollResponse{Type: "messages", Messages: s.inbox(1), Cursor: "e.1"}))
	cursors := &memory{at: client.Cursor{Text: "0"}}
	full := errors.New("disk full")
	err := s.messenger().Receive(t.Context(), cursors, func(context.Context, client.Incoming) error { return full })
	require.ErrorIs(t, err, full)
	require.Empty(t, cursors.saved)
}

func TestAGapIsAnErrorAndMovesNothing(t *testing.T) {
	for name, p := range map[string]func(s *script) api.PollResponse{
		"a position left out": func(s *script) api.PollResponse {
			return api.PollResponse{Type: "messages", Messages: s.inbox(1, 3), Cursor: "e.3"}
		},
		"a first position left out": func(s *script) api.PollResponse {
			return api.PollResponse{Type: "messages", Messages: s.inbox(2), Cursor: "e.2"}
		},
		"positions in the wrong order": func(s *script) api.PollResponse {
			return api.PollResponse{Type: "messages", Messages: s.inbox(2, 1), Cursor: "e.2"}
		},
		"a position twice": func(s *script) api.PollResponse {
			return api.PollResponse{Type: "messages", Messages: s.inbox(1), Skipped: []int64{1}, Cursor: "e.1"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			s.polls(answer(t, "0", p(s)))
			cursors := &memory{at: client.Cursor{Text: "0"}}
			err := s.messenger().Receive(t.Context(), cursors, func(context.Context, client.Incoming) error {
				t.Error("a message was handed over")
				return nil
			})
			require.ErrorIs(t, err, client.ErrGap)
			require.Empty(t, cursors.saved)
		})
	}
}

func TestAfterAResetMessagesComeFromTheBeginningAndNoneTwice(t *testing.T) {
	s := newScript(t)
	s.polls(
		answer(t, "0", api.PollResponse{Type: "messages", Messages: s.inbox(1, 2), Cursor: "e.2"}),
		answer(t, "e.2", api.PollResponse{Type: "reset", Cursor: "f.0"}),
		answer(t, "f.0", api.PollResponse{Type: "messages", Messages: s.inbox(1, 2, 3), Cursor: "f.3"}),
	)
	require.Equal(t, []string{"message 1", "message 2", "message 3"}, receive(t, s.messenger(), &memory{at: client.Cursor{Text: "0"}}))
}

func TestALostConnectionIsMadeAgain(t *testing.T) {
	s := newScript(t)
	s.polls(
		func(http.ResponseWriter, string) { panic(http.ErrAbortHandler) },
		func(w http.ResponseWriter, _ string) { refuse(w, 503, api.CodeDraining) },
		answer(t, "0", api.PollResponse{Type: "messages", Messages: s.inbox(1), Cursor: "e.1"}),
	)
	var heard []bool
	m := s.messenger(client.WithRetryHook(func(err error) { heard = append(heard, err != nil) }))
	require.Equal(t, []string{"message 1"}, receive(t, m, &memory{at: client.Cursor{Text: "0"}}))
	require.Equal(t, []bool{true, true, false}, heard)
}

func TestAMessageThatCannotBeOpenedSaysSo(t *testing.T) {
	s := newScript(t)
	m := s.messenger()
	for name, change := range map[string]func(*api.Message){
		"changed": func(m *api.Message) { m.EncryptedContent = strings.Repeat("00", 20) },
		"no key":  func(m *api.Message) { m.RecipientKeys = nil },
	} {
		message := s.inbox(1)[0]
		change(&message)
		in := m.Open(message)
		require.Error(t, in.Fault, name)
		require.Nil(t, in.Plaintext)
	}
}
