package client_test

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
)

// lookAlikes are names that Unicode's case folding takes for another user's.
var lookAlikes = map[string]string{"boss": "bo\u017fs", "kate": "\u212aate"}

// TestALookAlikeIsNobodyElse: a server that answers with one has its own key trusted beside the pinned one, if names are compared by Unicode's
// rules.
func TestALookAlikeIsNobodyElse(t *testing.T) {
	for name, lookAlike := range lookAlikes {
		require.False(t, api.SameUsername(name, lookAlike))
		require.True(t, api.SameUsername(name, strings.ToUpper(name)))
		s := newScript(t)
		s.key(name, 1, testKeys()[1])
		m := s.messenger()
		pins := &client.FilePins{Path: filepath.Join(t.TempDir(), "pins.json")}
		m.Pins = pins
		_, _, err := m.TrustedKey(t.Context(), name)
		require.NoError(t, err)

		liar := newScript(t)
		liar.on("GET /api/keys/user/"+name, func(w http.ResponseWriter, _ *http.Request) {
			reply(w, 200, api.UserKeyResponse{Username: lookAlike, PublicKey: publicKey(t, 2), Version: 1})
		})
		m = liar.messenger()
		m.Pins = pins
		_, _, err = m.TrustedKey(t.Context(), name)
		require.ErrorContains(t, err, "when asked for that of")
		_, _, err = m.TrustedKey(t.Context(), lookAlike)
		require.ErrorContains(t, err, "cannot be a username")
		require.Len(t, pinned(t, pins.Path), 1)

		pinned, err := pins.PinFirst(lookAlike, "another")
		require.NoError(t, err)
		require.Equal(t, "another", pinned, "a pin of its own")
	}
}

// TestAPinIsKeptUnderTheNameThatWasAskedFor in whatever case the server writes it.
func TestAPinIsKeptUnderTheNameThatWasAskedFor(t *testing.T) {
	s := newScript(t)
	s.on("GET /api/keys/user/bob", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, api.UserKeyResponse{Username: "BOB", PublicKey: publicKey(t, 1), Version: 1})
	})
	m := s.messenger()
	pins := &client.FilePins{Path: filepath.Join(t.TempDir(), "pins.json")}
	m.Pins = pins
	_, _, err := m.TrustedKey(t.Context(), "bob")
	require.NoError(t, err)
	require.Contains(t, pinned(t, pins.Path), "bob")
}

// TestASmallAnswerCannotBecomeALargeOne: four megabytes of gzip can hold four gigabytes.
func TestASmallAnswerCannotBecomeALargeOne(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write([]byte(`{"username":"bob","publicKey":"` + strings.Repeat("x", 1<<20)))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	s := newScript(t)
	s.on("GET /api/keys/user/bob", func(w http.ResponseWriter, r *http.Request) {
		require.NotContains(t, r.Header.Get("Accept-Encoding"), "gzip")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	_, err = s.messenger(client.WithPatience(0)).UserKey(t.Context(), "bob")
	require.ErrorContains(t, err, "not the server's")
	require.ErrorContains(t, err.(interface{ Unwrap() error }).Unwrap(), "makes no sense")
}

func TestAnAnswerIsReadToItsRoutesBoundAndNoFurther(t *testing.T) {
	s := newScript(t)
	s.on("GET /api/keys/user/bob", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, api.UserKeyResponse{Username: "bob", PublicKey: strings.Repeat("x", 1<<20)})
	})
	s.on("GET /api/messages/history", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, api.HistoryResponse{Messages: []api.Message{{EncryptedContent: strings.Repeat("x", 1<<21)}}})
	})
	m := s.messenger(client.WithPatience(0))
	_, err := m.UserKey(t.Context(), "bob")
	var broken *client.PathError
	require.ErrorAs(t, err, &broken)
	require.ErrorContains(t, broken.Unwrap(), "longer than 1048576 bytes")
	_, err = m.History(t.Context(), 0, 1)
	require.NoError(t, err, "its route has longer ones")
}

// TestAResetIsTold: a server can say so to hide what was there, or to repeat it.
func TestAResetIsTold(t *testing.T) {
	s := newScript(t)
	s.polls(
		answer(t, "0", api.PollResponse{Type: "messages", Messages: s.inbox(1, 2), Cursor: "e.2"}),
		answer(t, "e.2", api.PollResponse{Type: "reset", Cursor: "f.0"}),
		answer(t, "f.0", api.PollResponse{Type: "messages", Messages: s.inbox(1), Cursor: "f.1"}),
	)
	m := s.messenger()
	resets := 0
	m.OnReset = func() { resets++ }
	receive(t, m, client.FileCursor{Path: filepath.Join(t.TempDir(), "cursor.json")})
	require.Equal(t, 1, resets)
}

// TestAHistoryWithoutEndIsNotReadForEver: a server can show the same page again and again, or invent a page for each request.
func TestAHistoryWithoutEndIsNotReadForEver(t *testing.T) {
	text := publicKey(t, 1)
	key := []api.KeyVersion{{PublicKey: text}}
	serve := func(t *testing.T, next func(before int) int) (requests int, err error) {
		s := newScript(t)
		s.on("GET /api/keys/user/bob/history", func(w http.ResponseWriter, r *http.Request) {
			if requests++; requests > 1000 {
				panic(http.ErrAbortHandler)
			}
			before, _ := strconv.Atoi(r.URL.Query().Get("before"))
			version := next(before)
			key[0].Version = version
			reply(w, 200, api.KeyHistoryResponse{Username: "bob", Versions: key, Next: &version})
		})
		_, err = s.messenger(client.WithPatience(0)).HadKey(t.Context(), "bob", &testKeys()[0].PublicKey)
		return requests, err
	}
	requests, err := serve(t, func(int) int { return 7 })
	require.ErrorContains(t, err, "the server's pages of the keys of bob do not advance")
	require.Equal(t, 2, requests)
	requests, err = serve(t, func(before int) int {
		if before == 0 {
			return 1 << 30
		}
		return before - 1
	})
	require.ErrorContains(t, err, "goes on with keys of bob after 100 pages")
	require.Equal(t, 100, requests)
}
