package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/config"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/publickey"
	"github.com/sealpost/sealpost/pkg/publickey/publickeytest"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/keys/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key is the n-th of many keys.
func key(_ *testing.T, bits int, n int64) string { return publickeytest.PEM(bits, n) }

// names accepts any token as one of the user it names.
type names struct{}

func (names) Check(_ context.Context, raw string) (token.Identity, error) {
	if !api.ValidUsername(raw) {
		return token.Identity{}, token.ErrInvalid
	}
	return token.Identity{Username: raw, Subject: store.Canonical(raw)}, nil
}

type node struct {
	t      *testing.T
	engine *gin.Engine
	store  *pebble.Store
	// passwords hashes what add stores.
	passwords *password.Hasher
}

func deps(t *testing.T) app.Deps {
	return app.Deps{
		ServerKey: key(t, 4096, 0), Tokens: names{},
		Limiter: func(_ string, q ratelimit.Quota) ratelimit.Limiter { return ratelimit.NewInProcess(q, 0) },
		Log:     slog.New(slog.DiscardHandler), Registry: prometheus.NewPedanticRegistry(),
	}
}

func newNode(t *testing.T, environ ...string) *node {
	t.Helper()
	return newNodeWith(t, nil, environ...)
}

// newNodeWith replaces what checks passwords.
func newNodeWith(t *testing.T, passwords app.Passwords, environ ...string) *node {
	t.Helper()
	db, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	d := deps(t)
	d.Keys = db
	var cfg app.Config
	require.NoError(t, config.Load(&cfg, environ))
	var cheap password.Settings
	require.NoError(t, config.Load(&cheap, []string{"ARGON2_MEMORY=8KiB", "ARGON2_TIME=1"}))
	hasher, err := cheap.Open(nil)
	require.NoError(t, err)
	if d.Passwords = passwords; passwords == nil {
		d.Passwords = hasher
	}
	a, err := app.New(cfg, d)
	require.NoError(t, err)
	gin.SetMode(gin.ReleaseMode)
	n := &node{t: t, engine: gin.New(), store: db, passwords: hasher}
	a.Routes(n.engine)
	return n
}

// add registers a user with the n-th key, and with the name as the password.
func (n *node) add(name string, number int64) {
	n.t.Helper()
	k, err := publickey.Parse(key(n.t, 2048, number))
	require.NoError(n.t, err)
	hash, err := n.passwords.Hash(n.t.Context(), name)
	require.NoError(n.t, err)
	now := time.Date(2026, 3, 4, 5, 6, 7, 890_000_000, time.UTC)
	require.NoError(n.t, n.store.CreateAccount(n.t.Context(), store.Account{
		Username: name, PasswordHash: hash, CreatedAt: now, LastLogin: now,
		Key: store.Key{Version: 1, PEM: k.PEM, Fingerprint: k.Fingerprint, CreatedAt: now},
	}))
}

// call sends a request, as a user or without a token, and decodes the answer into dst.
func (n *node) call(method, path, as, body string, dst any) *httptest.ResponseRecorder {
	n.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if as != "" {
		r.Header.Set("Authorization", "Bearer "+as)
	}
	w := httptest.NewRecorder()
	n.engine.ServeHTTP(w, r)
	require.NoError(n.t, json.Unmarshal(w.Body.Bytes(), dst), "%s", w.Body)
	return w
}

func (n *node) requireError(status int, code api.Code, method, path, as, body string) {
	n.t.Helper()
	var e api.Error
	w := n.call(method, path, as, body, &e)
	require.Equal(n.t, status, w.Code, "%s", w.Body)
	require.Equal(n.t, code, e.Code)
}

func update(t *testing.T, text string) string {
	t.Helper()
	body, err := json.Marshal(api.UpdateKeyRequest{PublicKey: text})
	require.NoError(t, err)
	return string(body)
}

func TestTheServersKeyIsForEverybody(t *testing.T) {
	n := newNode(t)
	var answer map[string]string
	w := n.call("GET", "/api/keys/server-public", "", "", &answer)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, map[string]string{"publicKey": key(t, 4096, 0)}, answer)
	require.Contains(t, w.Header().Get("Cache-Control"), "max-age=")
}

func TestAUsersKeyAndItsHistoryAreForEverybody(t *testing.T) {
	n := newNode(t)
	n.add("Alice", 1)
	k, err := publickey.Parse(key(t, 2048, 1))
	require.NoError(t, err)
	var user map[string]any
	w := n.call("GET", "/api/keys/user/alice", "", "", &user)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, map[string]any{
		"username": "Alice", "publicKey": k.PEM, "version": 1.0, "fingerprint": k.Fingerprint, "updatedAt": "2026-03-04T05:06:07.890Z",
	}, user)
	var history map[string]any
	n.call("GET", "/api/keys/user/ALICE/history", "", "", &history)
	require.Equal(t, map[string]any{"username": "Alice", "next": nil, "versions": []any{map[string]any{
		"publicKey": k.PEM, "version": 1.0, "fingerprint": k.Fingerprint, "createdAt": "2026-03-04T05:06:07.890Z",
	}}}, history)
}

// rotateTo gives a user so many versions of the key, without the requests.
func (n *node) rotateTo(name string, versions int) {
	n.t.Helper()
	for v := 2; v <= versions; v++ {
		version, err := n.store.RotateKey(n.t.Context(), name, store.Key{PEM: fmt.Sprint("key ", v), Fingerprint: "f"}, "")
		require.NoError(n.t, err)
		require.Equal(n.t, v, version)
	}
}

func TestAHistoryIsReadInPages(t *testing.T) {
	n := newNode(t)
	n.add("Alice", 1)
	const versions = api.MaxKeyHistoryLimit + 5
	n.rotateTo("alice", versions)
	page := func(query string) (first, last int, next *int) {
		var history api.KeyHistoryResponse
		require.Equal(t, 200, n.call("GET", "/api/keys/user/alice/history"+query, "", "", &history).Code)
		for i, v := range history.Versions {
			require.Equal(t, history.Versions[0].Version+i, v.Version)
		}
		return history.Versions[0].Version, history.Versions[len(history.Versions)-1].Version, history.Next
	}
	for query, want := range map[string][3]int{ // first, last, next
		"":                      {6, versions, 6}, // as many as a page holds, the newest
		"?before=6":             {1, 5, 0},
		"?limit=2":              {versions - 1, versions, versions - 1},
		"?limit=2&before=6":     {4, 5, 4},
		"?limit=2&before=3":     {1, 2, 0},
		"?limit=200&before=150": {1, 149, 0},
		"?before=2147483647":    {6, versions, 6},
	} {
		first, last, next := page(query)
		require.Equal(t, [2]int{want[0], want[1]}, [2]int{first, last}, query)
		if want[2] == 0 {
			require.Nil(t, next, query)
			continue
		}
		require.Equal(t, want[2], *next, query)
	}
	var nothing map[string]any
	n.call("GET", "/api/keys/user/alice/history?before=1", "", "", &nothing)
	require.Equal(t, map[string]any{"username": "Alice", "versions": []any{}, "next": nil}, nothing)
	for _, field := range []string{"limit", "before"} {
		for _, value := range []string{"0", "-1", "x", "", "1.5", "2147483648"} {
			var e api.Error
			w := n.call("GET", "/api/keys/user/alice/history?"+field+"="+value, "", "", &e)
			require.Equal(t, 400, w.Code, "%s=%s", field, value)
			require.Equal(t, api.CodeInvalidField, e.Code)
			require.Equal(t, field, e.Field)
		}
	}
	n.requireError(400, api.CodeInvalidField, "GET", "/api/keys/user/alice/history?limit=201", "", "")
}

func TestLookUpsAreLimitedByAddressOverBothRoutes(t *testing.T) {
	n := newNode(t, "KEY_LOOKUPS_PER_MINUTE=2")
	n.add("alice", 1)
	var answer map[string]any
	w := n.call("GET", "/api/keys/user/alice", "", "", &answer)
	require.Equal(t, 200, w.Code)
	require.Equal(t, "limit=2, remaining=1, reset=30", w.Header().Get("RateLimit"))
	n.requireError(404, api.CodeUserNotFound, "GET", "/api/keys/user/nobody/history", "", "")
	n.requireError(429, api.CodeRateLimited, "GET", "/api/keys/user/alice", "", "")
	n.requireError(429, api.CodeRateLimited, "GET", "/api/keys/user/alice/history", "alice", "")
	require.Equal(t, 200, n.call("GET", "/api/keys/users", "alice", "", &answer).Code, "what needs a token has limits of its own")
}

func TestNobodyIs404(t *testing.T) {
	n := newNode(t)
	for _, name := range []string{"nobody", "a", "al.ice", "%00%00%00", "%24where", strings.Repeat("x", 1000)} {
		n.requireError(404, api.CodeUserNotFound, "GET", "/api/keys/user/"+name, "", "")
		n.requireError(404, api.CodeUserNotFound, "GET", "/api/keys/user/"+name+"/history", "", "")
	}
}

func TestARotationIsSeenByTheNextWhoAsks(t *testing.T) {
	n := newNode(t)
	n.add("Alice", 1)
	var answer map[string]any
	w := n.call("POST", "/api/users/update-key", "Alice", update(t, key(t, 2048, 2)), &answer)
	require.Equal(t, http.StatusOK, w.Code)
	require.Len(t, answer, 2)
	require.EqualValues(t, 2, answer["version"])
	require.NotEmpty(t, answer["message"])

	var again map[string]any
	n.call("POST", "/api/users/update-key", "Alice", update(t, key(t, 2048, 2)), &again)
	require.EqualValues(t, 2, again["version"], "asked again, nothing changes")
	require.NotEqual(t, answer["message"], again["message"])

	var user api.UserKeyResponse
	n.call("GET", "/api/keys/user/alice", "", "", &user)
	require.Equal(t, 2, user.Version)
	require.Equal(t, key(t, 2048, 2), user.PublicKey)
	var history api.KeyHistoryResponse
	n.call("GET", "/api/keys/user/alice/history", "", "", &history)
	require.Len(t, history.Versions, 2)
}

func TestARotationThatIsRefusedSaysWhy(t *testing.T) {
	n := newNode(t)
	n.add("alice", 1)
	const path = "/api/users/update-key"
	n.requireError(401, api.CodeNoToken, "POST", path, "", update(t, key(t, 2048, 2)))
	n.requireError(401, api.CodeInvalidToken, "POST", path, "!", update(t, key(t, 2048, 2)))
	n.requireError(401, api.CodeInvalidToken, "POST", path, "ghost", update(t, key(t, 2048, 2)))
	n.requireError(400, api.CodeMissingField, "POST", path, "alice", `{}`)
	n.requireError(400, api.CodeInvalidField, "POST", path, "alice", `{"publicKey":7}`)
	n.requireError(400, api.CodeInvalidJSON, "POST", path, "alice", `[]`)
	n.requireError(400, api.CodeInvalidPublicKey, "POST", path, "alice", update(t, key(t, 1024, 2)))
	n.requireError(400, api.CodeInvalidPublicKey, "POST", path, "alice", update(t, key(t, 2048, 2)+"-----BEGIN RSA PRIVATE KEY-----"))
}

func TestAKeyIsReplacedWithThePasswordOnceThatWasGiven(t *testing.T) {
	n := newNode(t)
	n.add("alice", 1)
	const path = "/api/users/update-key"
	with := func(number int64, password string) string {
		body, err := json.Marshal(api.UpdateKeyRequest{PublicKey: key(t, 2048, number), CurrentPassword: password})
		require.NoError(t, err)
		return string(body)
	}
	n.requireError(401, api.CodeInvalidCredentials, "POST", path, "alice", with(2, "wrong"))
	n.requireError(400, api.CodeInvalidField, "POST", path, "alice", `{"publicKey":"k","currentPassword":7}`)
	var answer api.UpdateKeyResponse
	require.Equal(t, 200, n.call("POST", path, "alice", with(2, ""), &answer).Code, "an older client sends none")
	require.Equal(t, 200, n.call("POST", path, "alice", with(3, "alice"), &answer).Code)
	require.Equal(t, 3, answer.Version)
	var e api.Error
	require.Equal(t, 403, n.call("POST", path, "alice", with(4, ""), &e).Code)
	require.Equal(t, api.CodePasswordRequired, e.Code)
	require.Equal(t, "currentPassword", e.Field)
	var user api.UserKeyResponse
	n.call("GET", "/api/keys/user/alice", "", "", &user)
	require.Equal(t, 3, user.Version)
}

func TestPasswordsAreGuessedNoFasterThanKeysAreReplaced(t *testing.T) {
	n := newNode(t, "KEY_ROTATIONS_PER_HOUR=2", "KEY_CHANGE_NEEDS_PASSWORD=true")
	n.add("alice", 1)
	body, err := json.Marshal(api.UpdateKeyRequest{PublicKey: key(t, 2048, 2), CurrentPassword: "guess"})
	require.NoError(t, err)
	for _, want := range []int{401, 401, 429} {
		var e api.Error
		require.Equal(t, want, n.call("POST", "/api/users/update-key", "alice", string(body), &e).Code)
	}
}

// full has no room to check a password.
type full struct{}

func (full) Verify(context.Context, string, string) (match, outdated bool, err error) {
	return false, false, fmt.Errorf("wait: %w", password.ErrAtCapacity)
}

func TestAPasswordThatCannotBeCheckedIs503(t *testing.T) {
	n := newNodeWith(t, full{})
	n.add("alice", 1)
	n.requireError(503, api.CodeAtCapacity, "POST", "/api/users/update-key", "alice", fmt.Sprintf(`{"publicKey":%q,"currentPassword":"alice"}`, key(t, 2048, 2)))
	var user api.UserKeyResponse
	n.call("GET", "/api/keys/user/alice", "", "", &user)
	require.Equal(t, 1, user.Version)
}

func TestRotationsAreLimitedByUser(t *testing.T) {
	n := newNode(t, "KEY_ROTATIONS_PER_HOUR=2")
	n.add("alice", 1)
	n.add("bob", 2)
	var answer map[string]any
	for i := range int64(2) {
		require.Equal(t, 200, n.call("POST", "/api/users/update-key", "alice", update(t, key(t, 2048, 10+i)), &answer).Code)
	}
	n.requireError(429, api.CodeRateLimited, "POST", "/api/users/update-key", "alice", update(t, key(t, 2048, 20)))
	require.Equal(t, 200, n.call("POST", "/api/users/update-key", "bob", update(t, key(t, 2048, 20)), &answer).Code)
}

func TestTheDirectoryIsReadInPages(t *testing.T) {
	n := newNode(t)
	for i, name := range []string{"Cid", "ann", "Bob"} {
		n.add(name, int64(i))
	}
	for _, path := range []string{"/api/keys/users", "/api/users/public-keys"} {
		var got []string
		for after, more := "", true; more; {
			var page map[string]any
			w := n.call("GET", fmt.Sprintf("%s?limit=2&after=%s", path, after), "ann", "", &page)
			require.Equal(t, http.StatusOK, w.Code)
			require.Len(t, page, 2)
			for _, u := range page["users"].([]any) {
				user := u.(map[string]any)
				require.Len(t, user, 3)
				require.NotEmpty(t, user["publicKey"])
				require.EqualValues(t, 1, user["version"])
				got = append(got, user["username"].(string))
			}
			after, more = page["next"].(string)
		}
		require.Equal(t, []string{"ann", "Bob", "Cid"}, got)
	}
	var everybody api.DirectoryResponse
	n.call("GET", "/api/keys/users", "ann", "", &everybody)
	require.Len(t, everybody.Users, 3)
	require.Nil(t, everybody.Next)
	var nobody map[string]any
	n.call("GET", "/api/keys/users?after=zzz", "ann", "", &nobody)
	require.Equal(t, map[string]any{"users": []any{}, "next": nil}, nobody)
}

func TestAPageThatCannotBeIsRefusedByField(t *testing.T) {
	n := newNode(t)
	n.requireError(401, api.CodeNoToken, "GET", "/api/keys/users", "", "")
	n.requireError(401, api.CodeNoToken, "GET", "/api/users/public-keys", "", "")
	for _, query := range []string{"limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=99999999999999999999", "after=a", "after=al.ice", "after=%00%00%00"} {
		n.requireError(400, api.CodeInvalidField, "GET", "/api/keys/users?"+query, "ann", "")
	}
}

func TestPagesAreLimitedByUserOverBothRoutes(t *testing.T) {
	n := newNode(t, "DIRECTORY_PAGES_PER_MINUTE=2")
	var answer map[string]any
	require.Equal(t, 200, n.call("GET", "/api/keys/users", "ann", "", &answer).Code)
	require.Equal(t, 200, n.call("GET", "/api/users/public-keys", "ann", "", &answer).Code)
	n.requireError(429, api.CodeRateLimited, "GET", "/api/keys/users", "ann", "")
}

func TestAStoreThatIsAwayIs503(t *testing.T) {
	n := newNode(t)
	n.add("alice", 1)
	require.NoError(t, n.store.Close())
	n.requireError(503, api.CodeUnavailable, "GET", "/api/keys/user/alice", "", "")
	n.requireError(503, api.CodeUnavailable, "GET", "/api/keys/user/alice/history", "", "")
	n.requireError(503, api.CodeUnavailable, "GET", "/api/keys/users", "alice", "")
	n.requireError(503, api.CodeUnavailable, "POST", "/api/users/update-key", "alice", update(t, key(t, 2048, 2)))
}

func TestAServiceIsNotMadeOfFaultyParts(t *testing.T) {
	var good app.Config
	require.NoError(t, config.Load(&good, nil))
	for name, c := range map[string]struct {
		cfg   app.Config
		spoil func(*app.Deps)
	}{
		"no limit on rotations":   {app.Config{DirectoryPagesPerMinute: 1, LookupsPerMinute: 1, MaxUnread: 4 << 20}, func(*app.Deps) {}},
		"no limit on pages":       {app.Config{RotationsPerHour: 1, LookupsPerMinute: 1, MaxUnread: 4 << 20}, func(*app.Deps) {}},
		"no limit on look-ups":    {app.Config{RotationsPerHour: 1, DirectoryPagesPerMinute: 1, MaxUnread: 4 << 20}, func(*app.Deps) {}},
		"no room for a page":      {app.Config{RotationsPerHour: 1, DirectoryPagesPerMinute: 1, LookupsPerMinute: 1, MaxUnread: 1 << 20}, func(*app.Deps) {}},
		"no server key":           {good, func(d *app.Deps) { d.ServerKey = "" }},
		"a server key too short":  {good, func(d *app.Deps) { d.ServerKey = key(t, 2048, 1) }},
		"a private server key":    {good, func(d *app.Deps) { d.ServerKey = "-----BEGIN PRIVATE KEY-----" }},
		"two server keys for one": {good, func(d *app.Deps) { d.ServerKey += d.ServerKey }},
	} {
		d := deps(t)
		c.spoil(&d)
		_, err := app.New(c.cfg, d)
		require.Error(t, err, name)
		require.NotErrorIs(t, err, store.ErrUnavailable, name)
	}
}
