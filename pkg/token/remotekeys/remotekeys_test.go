package remotekeys_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/token/remotekeys"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newKey(t *testing.T) ed25519.PublicKey {
	key, _, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key
}

// publisher serves a key set that a test can change.
type publisher struct {
	*httptest.Server
	body    atomic.Value
	fetches atomic.Int64
}

func publish(t *testing.T, body string) *publisher {
	p := &publisher{}
	p.body.Store(body)
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p.fetches.Add(1)
		_, _ = w.Write([]byte(p.body.Load().(string)))
	}))
	t.Cleanup(func() {
		p.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return p
}

func jwks(t *testing.T, keys ...ed25519.PublicKey) string {
	text, err := json.Marshal(token.NewKeySet(keys...).JWKS())
	require.NoError(t, err)
	return string(text)
}

func TestPublishedKeysAreKnownOnceFetched(t *testing.T) {
	key := newKey(t)
	p := publish(t, jwks(t, key))
	s := remotekeys.New(p.URL, slog.New(slog.DiscardHandler), nil)
	_, known := s.Key(token.KeyID(key))
	require.False(t, known)
	require.NoError(t, s.Fetch(t.Context()))
	found, known := s.Key(token.KeyID(key))
	require.True(t, known)
	require.Equal(t, key, found)
	_, known = s.Key("other")
	require.False(t, known)
}

func TestWhatIsNoKeySetLeavesTheKnownKeysAsTheyAre(t *testing.T) {
	key := newKey(t)
	p := publish(t, jwks(t, key))
	s := remotekeys.New(p.URL, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, s.Fetch(t.Context()))
	for _, body := range []string{"", "{}", `{"keys":[]}`, `{"keys":[{"kty":"RSA"}]}`, "<html>"} {
		p.body.Store(body)
		require.Error(t, s.Fetch(t.Context()), body)
		_, known := s.Key(token.KeyID(key))
		require.True(t, known, body)
	}
	p.Close()
	require.Error(t, s.Fetch(t.Context()))
	_, known := s.Key(token.KeyID(key))
	require.True(t, known, "and so does a service that is away")
}

// TestAnUnknownKeyMakesThemBeFetched: an unannounced rotation is noticed within seconds, but unknown ids from a stranger do not
// each cause a fetch.
func TestAnUnknownKeyMakesThemBeFetched(t *testing.T) {
	first, second := newKey(t), newKey(t)
	p := publish(t, jwks(t, first))
	s := remotekeys.New(p.URL, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, s.Fetch(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	p.body.Store(jwks(t, first, second))
	asked := 0
	require.Eventually(t, func() bool {
		asked++
		_, known := s.Key(token.KeyID(second))
		return known
	}, 30*time.Second, time.Millisecond)
	require.Greater(t, asked, 100)
	require.LessOrEqual(t, p.fetches.Load(), int64(3))
}

// TestAFloodOfUnknownKeysIsNoFloodOfFetches: strangers may send any number of different unknown ids.
func TestAFloodOfUnknownKeysIsNoFloodOfFetches(t *testing.T) {
	p := publish(t, jwks(t, newKey(t)))
	s := remotekeys.New(p.URL, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, s.Fetch(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	var asked atomic.Int64
	began := time.Now()
	for range 4 {
		running.Go(func() {
			for ctx.Err() == nil {
				s.Key(rand.Text())
				asked.Add(1)
			}
		})
	}
	require.Eventually(t, func() bool { return p.fetches.Load() >= 3 }, 30*time.Second, time.Millisecond)
	require.Greater(t, asked.Load(), int64(10_000))
	require.GreaterOrEqual(t, time.Since(began), 10*time.Second, "one in 5 s")
}
