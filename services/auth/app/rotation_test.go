package app_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/httpserver"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/token/keyfolder"
	"github.com/sealpost/sealpost/pkg/token/remotekeys"
)

// rotation is two auth nodes that read one key folder at different times, and a service that verifies tokens with the keys they
// publish, under load.
type rotation struct {
	*testing.T
	dir     string
	elapsed atomic.Int64
	folders []*keyfolder.Folder
	keys    *remotekeys.KeySet
	// logins are the login URLs, guarded the URLs that require a token.
	logins, guarded []string
	client          *http.Client
	// held is a token that is used throughout.
	held   atomic.Pointer[string]
	rounds [4]atomic.Int64 // per client
	failed chan error
}

func newRotation(t *testing.T, files map[string]string) *rotation {
	t.Helper()
	r := &rotation{T: t, dir: t.TempDir(), client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}, failed: make(chan error, 16)}
	t.Cleanup(r.client.CloseIdleConnections)
	r.hold(files)
	cfg := settings(t, "LOGIN_ATTEMPTS=1000000", "LOGIN_ATTEMPTS_PER_ADDRESS=1000000")
	db := openStore(t)
	var nodes []*node
	for range 2 {
		keys, err := keyfolder.Open(keyfolder.Config{
			Dir: r.dir, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return time.Now().Add(time.Duration(r.elapsed.Load())) },
		})
		require.NoError(t, err)
		n := nodeOn(t, cfg, db, keys)
		r.folders, nodes = append(r.folders, keys), append(nodes, n)
		r.logins = append(r.logins, n.server.URL+"/api/auth/login")
		r.guarded = append(r.guarded, n.server.URL+"/api/auth/profile")
	}
	r.verify(nodes, cfg)
	bearer := nodes[0].register("alice")
	r.held.Store(&bearer)
	return r
}

// verify starts the service that only verifies. It fetches the keys from the nodes in turn.
func (r *rotation) verify(nodes []*node, cfg configuration) {
	var turn atomic.Int64
	balancer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		nodes[int(turn.Add(1))%len(nodes)].server.Config.Handler.ServeHTTP(w, q)
	}))
	r.Cleanup(func() {
		balancer.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	r.keys = remotekeys.New(balancer.URL+"/.well-known/jwks.json", slog.New(slog.DiscardHandler), nil)
	require.NoError(r.T, r.keys.Fetch(r.Context()))
	v, err := token.NewVerifier(token.VerifierConfig{Keys: r.keys, Issuer: cfg.TokenIssuer, Audience: cfg.TokenAudience})
	require.NoError(r.T, err)
	engine := gin.New()
	engine.GET("/", httpserver.RequireToken(&token.Guard{Verifier: v, Revocations: nothingRevoked{}}), func(c *gin.Context) { c.Status(http.StatusOK) })
	server := httptest.NewServer(engine)
	r.Cleanup(server.Close)
	r.guarded = append(r.guarded, server.URL)
}

// nothingRevoked is always certain that no token is revoked.
type nothingRevoked struct{}

func (nothingRevoked) Revoked(token.Identity) bool { return false }
func (nothingRevoked) Staleness() time.Duration    { return 0 }

// hold makes the folder hold exactly these files. It adds new files before it removes old ones, as an operator would.
func (r *rotation) hold(files map[string]string) {
	r.Helper()
	for name, text := range files {
		path := filepath.Join(r.dir, name)
		require.NoError(r.T, os.WriteFile(path+".new", []byte(text), 0o600))
		require.NoError(r.T, os.Rename(path+".new", path))
	}
	entries, err := os.ReadDir(r.dir)
	require.NoError(r.T, err)
	for _, e := range entries {
		if files[e.Name()] == "" {
			require.NoError(r.T, os.Remove(filepath.Join(r.dir, e.Name())))
		}
	}
}

// change replaces the files. The nodes see that one after the other; the verifying service fetches in between and afterwards.
func (r *rotation) change(files map[string]string) {
	r.Helper()
	r.hold(files)
	for _, f := range r.folders {
		f.Refresh()
		for range r.folders {
			r.underLoad()
			require.NoError(r.T, r.keys.Fetch(r.Context()))
		}
	}
	r.underLoad()
}

// underLoad waits until every client has begun and ended a round since the call.
func (r *rotation) underLoad() {
	r.Helper()
	for i := range r.rounds {
		enough := r.rounds[i].Load() + 2
		require.Eventually(r.T, func() bool { return r.rounds[i].Load() >= enough || len(r.failed) > 0 }, time.Minute, time.Millisecond)
	}
	require.Empty(r.T, r.failed)
}

// load makes clients log in and use the new and the held token everywhere.
func (r *rotation) load() (stop func()) {
	ctx, cancel := context.WithCancel(r.Context())
	var clients sync.WaitGroup
	for i := range r.rounds {
		clients.Go(func() {
			for turn := i; ctx.Err() == nil; turn++ {
				if err := r.round(r.logins[turn%len(r.logins)]); err != nil {
					r.failed <- err
					return
				}
				r.rounds[i].Add(1)
			}
		})
	}
	return func() { cancel(); clients.Wait() }
}

func (r *rotation) round(login string) error {
	bearer, err := r.login(login)
	if err != nil {
		return err
	}
	bearers := []string{bearer}
	if held := r.held.Load(); held != nil {
		bearers = append(bearers, *held)
	}
	for _, url := range r.guarded {
		for _, bearer := range bearers {
			if status, err := r.get(url, bearer); err != nil || status != http.StatusOK {
				return fmt.Errorf("%s: %d, %w", url, status, err)
			}
		}
	}
	return nil
}

func (r *rotation) login(url string) (bearer string, err error) {
	res, err := r.client.Post(url, "application/json", strings.NewReader(`{"username":"alice","password":"correct horse"}`)) //nolint:noctx // the test ends it
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	var session api.SessionResponse
	if err := json.NewDecoder(res.Body).Decode(&session); err != nil || res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s, %w", url, res.Status, err)
	}
	return session.Token, nil
}

func (r *rotation) get(url, bearer string) (status int, err error) {
	q, err := http.NewRequest(http.MethodGet, url, nil) //nolint:noctx // the test ends it
	if err != nil {
		return 0, err
	}
	q.Header.Set("Authorization", "Bearer "+bearer)
	res, err := r.client.Do(q)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

// TestKeysAreExchangedWithoutAFailedRequest follows the steps of deploy/ROTATION.md.
func TestKeysAreExchangedWithoutAFailedRequest(t *testing.T) {
	before, beforePublic := signingKey(t)
	after, _ := signingKey(t)
	r := newRotation(t, map[string]string{"signing.pem": before})
	old := *r.held.Load()
	stop := r.load()
	r.underLoad()
	r.change(map[string]string{"signing.pem": before, "next.pem": after})
	r.elapsed.Store(int64(keyfolder.PublishBeforeSigning))
	r.change(map[string]string{"signing.pem": after, "old.pem": beforePublic})
	require.Equal(t, r.signs(0), r.signs(1))
	require.NotEqual(t, kidOf(t, before), r.signs(0))

	r.held.Store(nil) // it has expired
	r.underLoad()
	r.change(map[string]string{"signing.pem": after})
	stop()
	require.Empty(t, r.failed)
	for _, url := range r.guarded {
		status, err := r.get(url, old)
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, status, "%s takes a token of a key that is gone", url)
	}
	require.NoError(t, r.round(r.logins[0]))
}

func (r *rotation) signs(node int) string {
	kid, _ := r.folders[node].Signing()
	return kid
}

func kidOf(t *testing.T, private string) string {
	t.Helper()
	key, err := token.ParsePrivateKey([]byte(private))
	require.NoError(t, err)
	return token.KeyID(key.Public().(ed25519.PublicKey))
}

// TestAHastyExchangeFailsNoRequestEither: the new key replaces the old one in one step, and signs only when all verifiers know it.
func TestAHastyExchangeFailsNoRequestEither(t *testing.T) {
	before, beforePublic := signingKey(t)
	after, _ := signingKey(t)
	r := newRotation(t, map[string]string{"signing.pem": before})
	stop := r.load()
	r.change(map[string]string{"signing.pem": after, "old.pem": beforePublic})
	require.Equal(t, kidOf(t, before), r.signs(0))
	r.elapsed.Store(int64(keyfolder.PublishBeforeSigning + time.Minute))
	r.change(map[string]string{"signing.pem": after, "old.pem": beforePublic})
	require.Equal(t, kidOf(t, after), r.signs(0))
	stop()
	require.Empty(t, r.failed)
}
