package main

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/client/envelope"
	"github.com/sealpost/sealpost/pkg/client/keyfile"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"sealpost": command})
}

// leakChecked runs the tests and requires that they leave no goroutine.
type leakChecked struct{ *testing.M }

// Run implements testscript.TestingM.
func (m leakChecked) Run() int {
	status := m.M.Run()
	if err := goleak.Find(); status == 0 && err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

const goodPassword = "correct horse"

// member is an account of a fakeServer.
type member struct {
	name, password string
	keys           []string
	inbox          []api.Message
}

// fakeServer is a server with accounts, behind a proxy that can lose answers.
type fakeServer struct {
	t   *testing.T
	url string

	mu      sync.Mutex
	members map[string]*member
	// sessions are the members by token; nil after the session has ended.
	sessions map[string]*member
	// faults are the faults of the proxy, by path.
	faults map[string]fault
	// during holds, by path, what to call while a request is under way.
	during map[string]func()
}

// fault is what happens to a request: whether the server gets it, and what its client is answered.
type fault struct {
	lost   bool
	answer func(w http.ResponseWriter)
}

func newFakeServer(t *testing.T) *fakeServer {
	h, mux := startServer(t)
	mux.HandleFunc("GET /api/messages/history", h.history)
	return h
}

// startServer starts a server with the routes of accounts and keys. The caller adds the others.
func startServer(t *testing.T) (*fakeServer, *http.ServeMux) {
	h := &fakeServer{t: t, members: map[string]*member{}, sessions: map[string]*member{}, faults: map[string]fault{}, during: map[string]func(){}}
	mux := http.NewServeMux()
	h.routes(mux)
	server := httptest.NewServer(h.proxy(mux))
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	t.Cleanup(server.Close)
	h.url = server.URL
	return h, mux
}

// routes adds the routes of accounts and keys.
func (h *fakeServer) routes(mux *http.ServeMux) {
	mux.HandleFunc("POST /api/auth/register", h.register)
	mux.HandleFunc("POST /api/auth/login", h.login)
	mux.HandleFunc("POST /api/auth/logout", h.logout)
	mux.HandleFunc("POST /api/auth/logout-all", h.logout)
	mux.HandleFunc("POST /api/users/update-key", h.updateKey)
	mux.HandleFunc("GET /api/keys/user/{name}", h.key)
	mux.HandleFunc("GET /api/keys/user/{name}/history", h.keys)
}

func (h *fakeServer) proxy(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		during, f := h.during[r.URL.Path], h.faults[r.URL.Path]
		h.mu.Unlock()
		if during != nil {
			during()
		}
		if f.answer == nil {
			next.ServeHTTP(w, r)
			return
		}
		if !f.lost {
			next.ServeHTTP(httptest.NewRecorder(), r)
		}
		f.answer(w)
	})
}

func (h *fakeServer) fail(path string, f fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults[path] = f
}

func (h *fakeServer) heal() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.faults)
}

func (h *fakeServer) on(path string, f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.during[path] = f
}

func reply(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, code api.Code, message string) {
	e := api.New(status, code, message)
	e.RequestID = "r"
	reply(w, status, e)
}

func read[T any](r *http.Request) (v T) {
	_ = json.NewDecoder(r.Body).Decode(&v)
	return v
}

func (h *fakeServer) open(w http.ResponseWriter, status int, who *member) {
	token := fmt.Sprint("token", len(h.sessions))
	h.sessions[token] = who
	reply(w, status, api.SessionResponse{Token: token, Username: who.name})
}

func (h *fakeServer) register(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := read[api.RegisterRequest](r)
	switch name := strings.ToLower(q.Username); {
	case len(q.Password) < 8:
		refuse(w, 400, api.CodeWeakPassword, "password must be at least 8 bytes long")
	case h.members[name] != nil:
		refuse(w, 409, api.CodeUsernameTaken, "the username is taken")
	default:
		h.members[name] = &member{name: q.Username, password: q.Password, keys: []string{q.PublicKey}}
		h.open(w, 201, h.members[name])
	}
}

func (h *fakeServer) login(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	q := read[api.LoginRequest](r)
	who := h.members[strings.ToLower(q.Username)]
	if who == nil || who.password != q.Password {
		refuse(w, 401, api.CodeInvalidCredentials, "the username or the password is wrong")
		return
	}
	h.open(w, 200, who)
}

// session returns whose session a request is of; nil if there is none.
func (h *fakeServer) session(r *http.Request) *member {
	return h.sessions[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
}

// caller returns who makes a request. It answers a request without a session.
func (h *fakeServer) caller(w http.ResponseWriter, r *http.Request) *member {
	who := h.session(r)
	if who == nil {
		refuse(w, 401, api.CodeTokenRevoked, "the token was revoked")
	}
	return who
}

func (h *fakeServer) logout(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.caller(w, r) != nil {
		h.sessions[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")] = nil
		reply(w, 200, api.MessageResponse{Message: "logged out"})
	}
}

func (h *fakeServer) updateKey(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if who := h.caller(w, r); who != nil {
		q := read[api.UpdateKeyRequest](r)
		if q.CurrentPassword != who.password {
			refuse(w, 401, api.CodeInvalidCredentials, "currentPassword is wrong")
			return
		}
		if key := q.PublicKey; key != who.keys[len(who.keys)-1] {
			who.keys = append(who.keys, key)
		}
		reply(w, 200, api.UpdateKeyResponse{Message: "done", Version: len(who.keys)})
	}
}

func (h *fakeServer) key(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	who := h.members[strings.ToLower(r.PathValue("name"))]
	if who == nil {
		refuse(w, 404, api.CodeUserNotFound, "there is no such user")
		return
	}
	reply(w, 200, api.UserKeyResponse{Username: who.name, PublicKey: who.keys[len(who.keys)-1], Version: len(who.keys)})
}

func (h *fakeServer) keys(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	who := h.members[strings.ToLower(r.PathValue("name"))]
	if who == nil {
		refuse(w, 404, api.CodeUserNotFound, "there is no such user")
		return
	}
	answer := api.KeyHistoryResponse{Username: who.name}
	for i, key := range who.keys {
		answer.Versions = append(answer.Versions, api.KeyVersion{Version: i + 1, PublicKey: key})
	}
	reply(w, 200, answer)
}

func (h *fakeServer) history(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if who := h.caller(w, r); who != nil {
		reply(w, 200, api.HistoryResponse{Messages: append([]api.Message{}, who.inbox...)})
	}
}

// write puts a message of Bob's into a member's inbox, sealed for one of the member's keys.
func (h *fakeServer) write(name string, version int, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	who := h.members[strings.ToLower(name)]
	require.NotNil(h.t, who, "%s has an account", name)
	key, err := envelope.ParsePublicKey(who.keys[version-1])
	require.NoError(h.t, err)
	s, err := envelope.Seal([]byte(text), map[string]*rsa.PublicKey{who.name: key})
	require.NoError(h.t, err)
	who.inbox = append(who.inbox, api.Message{
		MessageID: fmt.Sprint("m", len(who.inbox)), Sender: "Bob", EncryptedContent: s.Content, IV: s.IV, RecipientKeys: s.Keys,
	})
}

// account looks a member up.
func (h *fakeServer) account(name string) *member {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.members[strings.ToLower(name)]
}

// isOpen reports whether a session is open.
func (h *fakeServer) isOpen(token string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[token] != nil
}

// machine is a computer with profiles, for a server.
type machine struct {
	t            *testing.T
	fakeServer   *fakeServer
	home, server string
	// password is the answer to password prompts.
	password string
}

func newMachine(t *testing.T, h *fakeServer) *machine {
	return &machine{t: t, fakeServer: h, home: t.TempDir(), server: h.url, password: goodPassword}
}

// output is what a command prints. It can be read while the command runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// run runs a command to its end.
func (m *machine) run(args ...string) (out string, status int) {
	var o output
	status = m.runInto(m.t.Context(), &o, args...)
	return o.String(), status
}

func (m *machine) runInto(ctx context.Context, o *output, args ...string) (status int) {
	file := filepath.Join(m.t.TempDir(), "password")
	require.NoError(m.t, os.WriteFile(file, []byte(m.password+"\n"), 0o600))
	a := &app{terminal: terminal{in: strings.NewReader(""), out: o, err: o}, keyBits: 2048, workFactor: 10, patience: time.Millisecond}
	return a.run(ctx, append([]string{"--home", m.home, "--server", m.server, "--password-file", file}, args...))
}

func (m *machine) mustRun(args ...string) string {
	m.t.Helper()
	out, status := m.run(args...)
	require.Zero(m.t, status, out)
	return out
}

// path is the path of a file in a member's profile.
func (m *machine) path(name, file string) string {
	return filepath.Join(m.home, strings.NewReplacer(":", "_").Replace(strings.TrimPrefix(m.server, "http://")), strings.ToLower(name), file)
}

func (m *machine) ring(name string) *keyfile.Ring {
	ring, err := keyfile.Load(m.path(name, keyFile), keyPassphrases(m.password)...)
	require.NoError(m.t, err)
	return ring
}

func (m *machine) token(name string) string {
	p, err := readProfile(filepath.Dir(m.path(name, profileFile)))
	require.NoError(m.t, err)
	return p.Token
}
