package app_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store/pebble"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/auth/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// configuration is what the environment says.
type configuration struct {
	app.Config
	Passwords password.Settings
}

// settings are the defaults with very cheap hashes, plus environ.
func settings(t *testing.T, environ ...string) configuration {
	t.Helper()
	var c configuration
	require.NoError(t, config.Load(&c, append([]string{"ARGON2_MEMORY=8KiB", "ARGON2_TIME=1"}, environ...)))
	return c
}

// node is an auth service with a store and an in-process limiter.
type node struct {
	t      *testing.T
	server *httptest.Server
	store  *pebble.Store
	reg    *prometheus.Registry
}

func newNode(t *testing.T, cfg configuration) *node {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return nodeOn(t, cfg, openStore(t), token.NewKeyring(key))
}

func inProcess(_ string, q ratelimit.Quota) ratelimit.Limiter { return ratelimit.NewInProcess(q, 0) }

func openStore(t *testing.T) *pebble.Store {
	t.Helper()
	db, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

func nodeOn(t *testing.T, cfg configuration, db *pebble.Store, keys token.SigningKeys) *node {
	t.Helper()
	mirror := revocation.New(db.Revocations())
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); mirror.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	<-mirror.Ready()

	verifier, err := token.NewVerifier(token.VerifierConfig{Keys: keys, Issuer: cfg.TokenIssuer, Audience: cfg.TokenAudience})
	require.NoError(t, err)
	reg := prometheus.NewPedanticRegistry()
	passwords, err := cfg.Passwords.Open(reg)
	require.NoError(t, err)
	a, err := app.New(cfg.Config, app.Deps{
		Accounts: db, Sessions: db, Revocations: mirror, Tokens: &token.Guard{Verifier: verifier, Revocations: mirror}, SigningKeys: keys, Passwords: passwords,
		Limiter: inProcess, LocalLimiter: inProcess, Log: slog.New(slog.DiscardHandler), Registry: reg,
	})
	require.NoError(t, err)
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	a.Routes(engine)
	n := &node{t: t, server: httptest.NewServer(engine), store: db, reg: reg}
	t.Cleanup(func() { n.server.Client().CloseIdleConnections(); n.server.Close() })
	return n
}

// call sends a request and decodes the answer into a map.
func (n *node) call(method, path, bearer string, body any) (int, map[string]any, http.Header) {
	n.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(n.t, err)
	r, err := http.NewRequestWithContext(n.t.Context(), method, n.server.URL+path, strings.NewReader(string(text)))
	require.NoError(n.t, err)
	r.Header.Set("Content-Type", "application/json")
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := n.server.Client().Do(r)
	require.NoError(n.t, err)
	defer func() { require.NoError(n.t, response.Body.Close()) }()
	answer, err := io.ReadAll(response.Body)
	require.NoError(n.t, err)
	var m map[string]any
	require.NoError(n.t, json.Unmarshal(answer, &m), "%s", answer)
	return response.StatusCode, m, response.Header
}

func (n *node) post(path, bearer string, body any) (int, map[string]any) {
	n.t.Helper()
	status, answer, _ := n.call(http.MethodPost, path, bearer, body)
	return status, answer
}

func (n *node) register(name string) (bearer string) {
	n.t.Helper()
	status, answer := n.post("/api/auth/register", "", api.RegisterRequest{Username: name, Password: "correct horse", PublicKey: publicKey()})
	require.Equal(n.t, http.StatusCreated, status, "%v", answer)
	return answer["token"].(string)
}

func keys(m map[string]any) []string {
	var names []string
	for k := range m {
		names = append(names, k)
	}
	return names
}

var publicKey = sync.OnceValue(func() string {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
})

func TestAnAccountFromItsFirstDayToItsLastToken(t *testing.T) {
	n := newNode(t, settings(t))
	status, registered, _ := n.call("POST", "/api/auth/register", "", api.RegisterRequest{Username: "Alice", Password: "correct horse", PublicKey: publicKey()})
	require.Equal(t, http.StatusCreated, status)
	require.ElementsMatch(t, []string{"message", "token", "username", "expiresAt"}, keys(registered))
	require.Equal(t, "Alice", registered["username"])

	status, loggedIn := n.post("/api/auth/login", "", api.LoginRequest{Username: "alice", Password: "correct horse"})
	require.Equal(t, http.StatusOK, status)
	require.ElementsMatch(t, []string{"message", "token", "username", "expiresAt"}, keys(loggedIn))
	first, second := registered["token"].(string), loggedIn["token"].(string)

	status, profile, _ := n.call("GET", "/api/auth/profile", first, nil)
	require.Equal(t, http.StatusOK, status)
	require.ElementsMatch(t, []string{"username", "publicKey", "keyVersion", "createdAt", "lastLogin"}, keys(profile))
	require.Equal(t, "Alice", profile["username"])
	require.Equal(t, publicKey(), profile["publicKey"])
	require.EqualValues(t, 1, profile["keyVersion"])

	status, verified := n.post("/api/auth/verify", "", api.VerifyRequest{Token: first})
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, map[string]any{"valid": true, "username": "Alice", "expiresAt": registered["expiresAt"]}, verified)

	status, answer := n.post("/api/auth/logout", first, nil)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, []string{"message"}, keys(answer))
	n.requireRevoked(first)
	status, answer = n.post("/api/auth/verify", "", api.VerifyRequest{Token: first})
	require.Equal(t, http.StatusUnauthorized, status)
	require.Equal(t, map[string]any{"valid": false}, answer)

	status, changed := n.post("/api/auth/password", second, api.PasswordRequest{CurrentPassword: "correct horse", NewPassword: "battery staple"})
	require.Equal(t, http.StatusOK, status)
	require.ElementsMatch(t, []string{"message", "token", "expiresAt"}, keys(changed))
	n.requireRevoked(second)

	third := changed["token"].(string)
	status, _ = n.post("/api/auth/logout-all", third, nil)
	require.Equal(t, http.StatusOK, status)
	n.requireRevoked(third)
	status, _ = n.post("/api/auth/login", "", api.LoginRequest{Username: "Alice", Password: "battery staple"})
	require.Equal(t, http.StatusOK, status)
}

func (n *node) requireRevoked(bearer string) {
	n.t.Helper()
	status, answer, _ := n.call("GET", "/api/auth/profile", bearer, nil)
	require.Equal(n.t, http.StatusUnauthorized, status)
	require.Equal(n.t, "token_revoked", answer["code"])
}

func TestAWrongPasswordAndAnUnknownUserAreAnsweredAlike(t *testing.T) {
	n := newNode(t, settings(t))
	n.register("alice")
	var answers []map[string]any
	for _, name := range []string{"alice", "nobody", "no such name"} {
		status, answer := n.post("/api/auth/login", "", api.LoginRequest{Username: name, Password: "wrong"})
		require.Equal(t, http.StatusUnauthorized, status)
		delete(answer, "requestId")
		answers = append(answers, answer)
	}
	require.Equal(t, "invalid_credentials", answers[0]["code"])
	require.Equal(t, answers[0], answers[1])
	require.Equal(t, answers[0], answers[2])
}

func TestRoutesOfTheCallerNeedAToken(t *testing.T) {
	n := newNode(t, settings(t))
	for _, route := range []string{"GET profile", "POST logout", "POST logout-all", "POST password"} {
		method, name, _ := strings.Cut(route, " ")
		status, answer, header := n.call(method, "/api/auth/"+name, "", nil)
		require.Equal(t, http.StatusUnauthorized, status)
		require.Equal(t, "no_token", answer["code"])
		require.Equal(t, "Bearer", header.Get("WWW-Authenticate"))
		status, answer, _ = n.call(method, "/api/auth/"+name, "forged", nil)
		require.Equal(t, http.StatusUnauthorized, status)
		require.Equal(t, "invalid_token", answer["code"])
	}
}

func TestTenAttemptsOnANameAndThenPatience(t *testing.T) {
	n := newNode(t, settings(t))
	n.register("alice")
	for range 10 {
		status, _ := n.post("/api/auth/login", "", api.LoginRequest{Username: "alice", Password: "wrong"})
		require.Equal(t, http.StatusUnauthorized, status)
	}
	status, answer, header := n.call("POST", "/api/auth/login", "", api.LoginRequest{Username: "Alice", Password: "correct horse"})
	require.Equal(t, http.StatusTooManyRequests, status)
	require.Equal(t, "rate_limited", answer["code"])
	require.Equal(t, "limit=10, remaining=0, reset=900", header.Get("RateLimit"))
	require.Contains(t, []string{"90", "91", "92", "93"}, header.Get("Retry-After"))
	status, _ = n.post("/api/auth/login", "", api.LoginRequest{Username: "bob", Password: "wrong"})
	require.Equal(t, http.StatusUnauthorized, status, "other names have their own")
}

func TestAnAddressHasALimitForAllNames(t *testing.T) {
	n := newNode(t, settings(t, "LOGIN_ATTEMPTS_PER_ADDRESS=3"))
	for _, name := range []string{"ann", "bob", "cid"} {
		n.register(name)
	}
	status, _ := n.post("/api/auth/register", "", api.RegisterRequest{Username: "dan", Password: "correct horse", PublicKey: publicKey()})
	require.Equal(t, http.StatusTooManyRequests, status)
	status, _ = n.post("/api/auth/login", "", api.LoginRequest{Username: "ann", Password: "correct horse"})
	require.Equal(t, http.StatusOK, status, "logins are counted by themselves")
}

func TestVerificationsHaveALimitOfTheirOwn(t *testing.T) {
	n := newNode(t, settings(t, "VERIFICATIONS_PER_MINUTE=2"))
	ask := func() (int, map[string]any, http.Header) {
		return n.call("POST", "/api/auth/verify", "", api.VerifyRequest{Token: "forged"})
	}
	for range 2 {
		status, _, _ := ask()
		require.Equal(t, http.StatusUnauthorized, status)
	}
	status, answer, header := ask()
	require.Equal(t, http.StatusTooManyRequests, status)
	require.Equal(t, "rate_limited", answer["code"])
	require.Equal(t, "limit=2, remaining=0, reset=60", header.Get("RateLimit"))
	n.register("alice")
}

func TestAPrivateKeyIsRefusedByName(t *testing.T) {
	n := newNode(t, settings(t))
	status, answer := n.post("/api/auth/register", "", api.RegisterRequest{
		Username: "alice", Password: "correct horse", PublicKey: publicKey() + "-----BEGIN PRIVATE KEY-----",
	})
	require.Equal(t, http.StatusBadRequest, status)
	require.Equal(t, "invalid_public_key", answer["code"])
	require.Contains(t, answer["message"], "private key")
}

// TestNamesThatMisleadAreReserved: those of the operator, and those that trip up clients in JavaScript. Whoever has one keeps it.
func TestNamesThatMisleadAreReserved(t *testing.T) {
	db := openStore(t)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	before := nodeOn(t, settings(t, "RESERVED_NAMES=nobody_else"), db, token.NewKeyring(key))
	before.register("Admin")
	n := nodeOn(t, settings(t), db, token.NewKeyring(key))
	for _, name := range []string{"admin", "SUPPORT", "__proto__", "constructor", "hasOwnProperty"} {
		status, answer := n.post("/api/auth/register", "", api.RegisterRequest{Username: name, Password: "correct horse", PublicKey: publicKey()})
		require.Equal(t, http.StatusBadRequest, status, name)
		require.Equal(t, "username", answer["field"])
		require.Contains(t, answer["message"], "is reserved")
	}
	status, answer := n.post("/api/auth/login", "", api.LoginRequest{Username: "admin", Password: "correct horse"})
	require.Equal(t, http.StatusOK, status, "%v", answer)
	n.register("admins")
	own := nodeOn(t, settings(t, "RESERVED_NAMES=boss,Owner"), db, token.NewKeyring(key))
	own.register("support")
	status, _ = own.post("/api/auth/register", "", api.RegisterRequest{Username: "owner", Password: "correct horse", PublicKey: publicKey()})
	require.Equal(t, http.StatusBadRequest, status)
}

func TestTheKeySetVerifiesWhatTheServiceSigns(t *testing.T) {
	cfg := settings(t)
	n := newNode(t, cfg)
	bearer := n.register("alice")
	status, answer, header := n.call("GET", "/.well-known/jwks.json", "", nil)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, header.Get("Cache-Control"), "max-age=")
	text, err := json.Marshal(answer)
	require.NoError(t, err)
	var set api.JWKS
	require.NoError(t, json.Unmarshal(text, &set))
	published, err := token.ParseJWKS(set)
	require.NoError(t, err)
	v, err := token.NewVerifier(token.VerifierConfig{Keys: published, Issuer: cfg.TokenIssuer, Audience: cfg.TokenAudience})
	require.NoError(t, err)
	id, err := v.Verify(bearer)
	require.NoError(t, err)
	require.Equal(t, 24*time.Hour, id.ExpiresAt.Sub(id.IssuedAt))
}

func TestKeysOfARotationArePublishedTogether(t *testing.T) {
	public, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	a, err := app.New(settings(t).Config, app.Deps{
		SigningKeys: token.NewKeyring(key, public), Limiter: inProcess, LocalLimiter: inProcess,
	})
	require.NoError(t, err)
	engine := gin.New()
	a.Routes(engine)
	w := httptest.NewRecorder()
	engine.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil))
	for _, k := range []ed25519.PublicKey{public, key.Public().(ed25519.PublicKey)} {
		require.Contains(t, w.Body.String(), token.KeyID(k))
	}
}

func TestDefaultHashesCostWhatTheyShould(t *testing.T) {
	var cfg configuration
	require.NoError(t, config.Load(&cfg, nil))
	n := newNode(t, cfg)
	n.register("alice")
	account, err := n.store.Account(t.Context(), "alice")
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(account.PasswordHash, "$argon2id$v=19$m=65536,t=3,p=1$"))
}

func TestFaultsOfTheConfigurationAreReportedTogether(t *testing.T) {
	for _, c := range []string{
		"JWT_EXPIRATION=721h", "JWT_EXPIRATION=1500ms", "JWT_EXPIRATION=0s", "MIN_PASSWORD_BYTES=7", "MIN_PASSWORD_BYTES=1025",
		"ARGON2_MEMORY=7KiB", "ARGON2_MEMORY=2GiB", "ARGON2_MEMORY=65537", "ARGON2_TIME=0", "ARGON2_TIME=65",
		"ARGON2_PARALLELISM=0", "ARGON2_PARALLELISM=65", "ARGON2_WORKERS=-1", "ARGON2_QUEUE=-1", "ARGON2_QUEUE_WAIT=0s",
		"LOGIN_ATTEMPTS=0", "LOGIN_ATTEMPTS_PER_ADDRESS=0", "LOGIN_PERIOD=999ms", "VERIFICATIONS_PER_MINUTE=0", "RESERVED_NAMES=a-b",
	} {
		var cfg configuration
		name, _, _ := strings.Cut(c, "=")
		require.ErrorContains(t, config.Load(&cfg, []string{c}), name, c)
	}
	var cfg configuration
	err := config.Load(&cfg, []string{"LOGIN_ATTEMPTS=0", "ARGON2_TIME=0"})
	require.ErrorContains(t, err, "LOGIN_ATTEMPTS")
	require.ErrorContains(t, err, "ARGON2_TIME")
}

func TestAServiceIsNotMadeOfFaultyParts(t *testing.T) {
	_, err := app.New(app.Config{}, app.Deps{})
	require.ErrorContains(t, err, "JWT_ISSUER")
	_, err = app.New(settings(t).Config, app.Deps{})
	require.ErrorContains(t, err, "keys are required")
}
