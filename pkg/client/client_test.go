package client_test

import (
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client"
	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(pinnerVariable); path != "" {
		pinMany(path)
		return
	}
	goleak.VerifyTestMain(m)
}

// testKeys are made once: making them is slow.
var testKeys = sync.OnceValue(func() []*rsa.PrivateKey {
	keys := make([]*rsa.PrivateKey, 3)
	for i := range keys {
		key, err := envelope.GenerateKey(2048)
		if err != nil {
			panic(err)
		}
		keys[i] = key
	}
	return keys
})

// script is a server that answers as a test says.
type script struct {
	t   *testing.T
	mux *http.ServeMux
	url string
}

func newScript(t *testing.T) *script {
	s := &script{t: t, mux: http.NewServeMux()}
	server := httptest.NewServer(s.mux)
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *script) on(pattern string, f func(w http.ResponseWriter, r *http.Request)) {
	s.mux.HandleFunc(pattern, f)
}

func reply(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, code api.Code, change ...func(*api.Error)) {
	e := api.New(status, code, "no")
	e.RequestID = "r"
	for _, f := range change {
		f(e)
	}
	reply(w, status, e)
}

// key makes the server return a key for a user.
func (s *script) key(name string, version int, key *rsa.PrivateKey) {
	text, err := envelope.EncodePublicKey(&key.PublicKey)
	require.NoError(s.t, err)
	s.on("GET /api/keys/user/"+name, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, api.UserKeyResponse{Username: name, PublicKey: text, Version: version, Fingerprint: "not to be believed"})
	})
}

func (s *script) messenger(options ...client.Option) *client.Messenger {
	transport := &http.Transport{}
	s.t.Cleanup(transport.CloseIdleConnections)
	c, err := client.New(s.url, append([]client.Option{client.WithHTTPClient(&http.Client{Transport: transport})}, options...)...)
	require.NoError(s.t, err)
	return &client.Messenger{
		Client: c, Username: "Alice", Pins: &client.FilePins{Path: filepath.Join(s.t.TempDir(), "pins.json")},
		Keys: &keyfile.Ring{Keys: []keyfile.Key{{Version: 1, Private: testKeys()[0]}}},
	}
}

func decode[T any](t *testing.T, r *http.Request) T {
	var v T
	require.NoError(t, json.NewDecoder(r.Body).Decode(&v))
	return v
}

func TestAMessageIsSealedForItsRecipientsAndForItsSender(t *testing.T) {
	s := newScript(t)
	s.key("Bob", 3, testKeys()[1])
	var sent api.SendRequest
	s.on("POST /api/messages/send", func(w http.ResponseWriter, r *http.Request) {
		sent = decode[api.SendRequest](t, r)
		reply(w, 201, api.SendResponse{MessageID: "m1"})
	})
	answer, err := s.messenger().Send(t.Context(), []byte("hello"), "Bob", "alice")
	require.NoError(t, err)
	require.Equal(t, "m1", answer.MessageID)
	require.Equal(t, api.KeyVersions{"Bob": 3, "Alice": 1}, sent.RecipientKeyVersions)
	for name, key := range map[string]*rsa.PrivateKey{"Bob": testKeys()[1], "Alice": testKeys()[0]} {
		plaintext, err := envelope.Open(sent.EncryptedContent, sent.IV, sent.RecipientKeys[name], key)
		require.NoError(t, err)
		require.Equal(t, "hello", string(plaintext))
	}
	require.NotEmpty(t, sent.ClientMessageID)
}

func TestASendWhoseAnswerIsLostIsRepeatedByteForByte(t *testing.T) {
	s := newScript(t)
	s.key("Bob", 1, testKeys()[1])
	var bodies []api.SendRequest
	s.on("POST /api/messages/send", func(w http.ResponseWriter, r *http.Request) {
		bodies = append(bodies, decode[api.SendRequest](t, r))
		switch len(bodies) {
		case 1:
			panic(http.ErrAbortHandler) // perhaps committed; the answer is lost
		case 2:
			refuse(w, 503, api.CodeUnavailable)
		default:
			reply(w, 200, api.SendResponse{MessageID: "m1", Duplicate: true})
		}
	})
	var heard []error
	answer, err := s.messenger(client.WithRetryHook(func(err error) { heard = append(heard, err) })).Send(t.Context(), []byte("hello"), "Bob")
	require.NoError(t, err)
	require.True(t, answer.Duplicate)
	require.Len(t, bodies, 3)
	require.Equal(t, bodies[0], bodies[1])
	require.Equal(t, bodies[0], bodies[2])
	require.Len(t, heard, 3)
	require.ErrorIs(t, heard[0], client.ErrNoConnection)
	require.NoError(t, heard[2], "the hook hears that it is over")
}

func TestAMessageForAnOldKeyIsWrappedAgainUnderTheSameID(t *testing.T) {
	s := newScript(t)
	s.key("Bob", 2, testKeys()[1])
	var bodies []api.SendRequest
	s.on("POST /api/messages/send", func(w http.ResponseWriter, r *http.Request) {
		bodies = append(bodies, decode[api.SendRequest](t, r))
		if len(bodies) == 1 {
			refuse(w, 409, api.CodeStaleKeys, func(e *api.Error) { e.Stale = map[string]int{"Bob": 3} })
			return
		}
		reply(w, 201, api.SendResponse{MessageID: "m1"})
	})
	_, err := s.messenger().Send(t.Context(), []byte("hello"), "Bob")
	require.NoError(t, err)
	require.Equal(t, bodies[0].ClientMessageID, bodies[1].ClientMessageID)
	require.NotEqual(t, bodies[0].RecipientKeys["Bob"], bodies[1].RecipientKeys["Bob"])
}

func TestKeysThatKeepChangingEndInAnError(t *testing.T) {
	s := newScript(t)
	s.key("Bob", 2, testKeys()[1])
	s.on("POST /api/messages/send", func(w http.ResponseWriter, _ *http.Request) { refuse(w, 409, api.CodeStaleKeys) })
	_, err := s.messenger().Send(t.Context(), []byte("hello"), "Bob")
	require.ErrorContains(t, err, "faster")
}

func TestAChangedKeyStopsASendUntilItIsAccepted(t *testing.T) {
	s := newScript(t)
	s.key("Bob", 2, testKeys()[2])
	sends := 0
	s.on("POST /api/messages/send", func(w http.ResponseWriter, _ *http.Request) {
		sends++
		reply(w, 201, api.SendResponse{MessageID: "m1"})
	})
	m := s.messenger()
	known, err := envelope.Fingerprint(&testKeys()[1].PublicKey)
	require.NoError(t, err)
	require.NoError(t, m.Pins.Pin("bob", known))
	_, err = m.Send(t.Context(), []byte("hello"), "Bob")
	var changed *client.KeyChangedError
	require.ErrorAs(t, err, &changed)
	require.Equal(t, known, changed.Pinned)
	require.Zero(t, sends)
	require.NoError(t, m.Pins.Pin("BOB", changed.Offered))
	_, err = m.Send(t.Context(), []byte("hello"), "Bob")
	require.NoError(t, err)
}

func TestAKeyOfSomebodyElseIsRefused(t *testing.T) {
	s := newScript(t)
	text, err := envelope.EncodePublicKey(&testKeys()[1].PublicKey)
	require.NoError(t, err)
	s.on("GET /api/keys/user/Bob", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, api.UserKeyResponse{Username: "Mallory", PublicKey: text})
	})
	_, err = s.messenger().Send(t.Context(), []byte("hello"), "Bob")
	require.ErrorContains(t, err, "Mallory")
}

func TestErrorsThatWillNotPassAreNotRepeated(t *testing.T) {
	s := newScript(t)
	calls := 0
	s.on("GET /api/auth/profile", func(w http.ResponseWriter, _ *http.Request) { calls++; refuse(w, 401, api.CodeTokenExpired) })
	s.on("POST /api/auth/login", func(w http.ResponseWriter, _ *http.Request) { calls++; refuse(w, 503, api.CodeAtCapacity) })
	m := s.messenger()
	_, err := m.Profile(t.Context())
	require.True(t, client.IsCode(err, api.CodeTokenExpired))
	_, err = m.Login(t.Context(), "alice", "x") // attempts count: only the user may retry
	require.True(t, client.IsCode(err, api.CodeAtCapacity))
	require.Equal(t, 2, calls)
}

func TestAServerThatIsNotThereIsToldFromOneThatSaysNo(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	c, err := client.New(server.URL, client.WithPatience(0))
	require.NoError(t, err)
	_, err = c.Profile(t.Context())
	require.ErrorIs(t, err, client.ErrNoConnection)
	for _, address := range []string{"", "localhost:3001", "ftp://x", "http://", "://"} {
		_, err := client.New(address)
		require.Error(t, err, address)
	}
}

func TestARotatedKeyIsKeptBeforeTheServerLearnsOfIt(t *testing.T) {
	s := newScript(t)
	m := s.messenger()
	var steps []string
	s.on("POST /api/users/update-key", func(w http.ResponseWriter, r *http.Request) {
		sent := decode[api.UpdateKeyRequest](t, r)
		require.Equal(t, "correct horse", sent.CurrentPassword)
		public, err := envelope.ParsePublicKey(sent.PublicKey)
		require.NoError(t, err)
		require.NotNil(t, public)
		steps = append(steps, "told")
		reply(w, 200, api.UpdateKeyResponse{Version: 2})
	})
	before := s.inbox(1)[0]
	version, err := m.RotateKey(t.Context(), "correct horse", 2048, func(r *keyfile.Ring) error {
		require.Len(t, r.Keys, 2)
		steps = append(steps, fmt.Sprint("kept version ", r.Keys[1].Version))
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 2, version)
	require.Equal(t, []string{"kept version 0", "told", "kept version 2"}, steps)
	require.NoError(t, m.Open(before).Fault, "what was sealed for the old key opens still")
}
