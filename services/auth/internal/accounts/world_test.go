package accounts_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/password"
	"github.com/sealpost/sealpost/pkg/ratelimit"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/revocation/revocationtest"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/pebble"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/services/auth/internal/accounts"
)

const (
	alicesPassword = "correct horse"
	lifetime       = time.Hour
)

var cheap = password.Params{MemoryKiB: 8, Time: 1, Parallelism: 1}

// failing is a store whose calls a test can make fail, by name, or run something first.
type failing struct {
	store.Store
	mu     sync.Mutex
	before map[string]func() error
}

func (f *failing) set(call string, before func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before[call] = before
}

func (f *failing) run(call string) error {
	f.mu.Lock()
	before := f.before[call]
	f.mu.Unlock()
	if before == nil {
		return nil
	}
	return before()
}

func (f *failing) Account(ctx context.Context, username string) (store.Account, error) {
	if err := f.run("Account"); err != nil {
		return store.Account{}, err
	}
	return f.Store.Account(ctx, username)
}

func (f *failing) CreateAccount(ctx context.Context, a store.Account) error {
	if err := f.run("CreateAccount"); err != nil {
		return err
	}
	return f.Store.CreateAccount(ctx, a)
}

func (f *failing) ReplaceHash(ctx context.Context, username, oldHash, newHash string) error {
	if err := f.run("ReplaceHash"); err != nil {
		return err
	}
	return f.Store.ReplaceHash(ctx, username, oldHash, newHash)
}

func (f *failing) ChangePassword(ctx context.Context, username, oldHash, newHash string) (int64, error) {
	if err := f.run("ChangePassword"); err != nil {
		return 0, err
	}
	return f.Store.ChangePassword(ctx, username, oldHash, newHash)
}

func (f *failing) RaiseGeneration(ctx context.Context, username string) (int64, error) {
	if err := f.run("RaiseGeneration"); err != nil {
		return 0, err
	}
	return f.Store.RaiseGeneration(ctx, username)
}

func (f *failing) OpenSession(ctx context.Context, username, sessionID string, expiresAt time.Time) error {
	if err := f.run("OpenSession"); err != nil {
		return err
	}
	return f.Store.OpenSession(ctx, username, sessionID, expiresAt)
}

func (f *failing) RecordLogin(ctx context.Context, username string, l store.Login) error {
	if err := f.run("RecordLogin"); err != nil {
		return err
	}
	return f.Store.RecordLogin(ctx, username, l)
}

// world is a service with a real store and a revocation log that a test can make unavailable.
type world struct {
	*accounts.Service
	store  *failing
	log    *revocationtest.Log
	mirror *revocation.Mirror
	guard  *token.Guard
	reg    *prometheus.Registry
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	w := &world{
		store: &failing{Store: db, before: map[string]func() error{}},
		log:   &revocationtest.Log{}, reg: prometheus.NewPedanticRegistry(),
	}
	w.mirror = w.follow(t)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	signer, err := token.NewSigner(token.SignerConfig{Keys: token.NewKeyring(key), Issuer: "i", Audience: "a", Lifetime: lifetime})
	require.NoError(t, err)
	verifier, err := token.NewVerifier(token.VerifierConfig{Keys: token.NewKeyring(key), Issuer: "i", Audience: "a"})
	require.NoError(t, err)
	w.guard = &token.Guard{Verifier: verifier, Revocations: w.mirror}
	w.Service = &accounts.Service{
		Accounts: w.store, Sessions: w.store, Revocations: w.mirror, Tokens: signer,
		Guesses: ratelimit.Off{}, Addresses: accounts.Addresses{Keys: token.NewKeyring(key)},
		MinPasswordBytes: 8, Now: time.Now, Log: slog.New(slog.DiscardHandler), Metrics: accounts.NewMetrics(w.reg),
	}
	w.hashWith(t, cheap)
	return w
}

// home is where requests come from, unless a test says otherwise.
var home = netip.MustParseAddr("192.0.2.1")

func (w *world) Register(ctx context.Context, r api.RegisterRequest) (accounts.Session, error) {
	return w.Service.Register(ctx, home, r)
}

func (w *world) Login(ctx context.Context, r api.LoginRequest) (accounts.Session, error) {
	return w.Service.Login(ctx, home, r)
}

func (w *world) ChangePassword(ctx context.Context, caller token.Identity, r api.PasswordRequest) (accounts.Session, error) {
	return w.Service.ChangePassword(ctx, home, caller, r)
}

// follow starts a second mirror of the world's log, as another node would.
func (w *world) follow(t *testing.T) *revocation.Mirror {
	t.Helper()
	m := revocation.New(w.log)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	<-m.Ready()
	return m
}

func (w *world) hashWith(t *testing.T, p password.Params) {
	t.Helper()
	h, err := password.New(password.Config{Params: p, Workers: 2, Queue: 16, QueueWait: time.Minute})
	require.NoError(t, err)
	w.Passwords = h
}

// outcomes returns the metric of an operation for an outcome.
func (w *world) outcomes(t *testing.T, name, outcome string) float64 {
	t.Helper()
	families, err := w.reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == name && l.GetName() == "outcome" && l.GetValue() == outcome {
					return m.GetCounter().GetValue()
				}
			}
		}
	}
	return 0
}

func (w *world) good(t *testing.T, s accounts.Session) {
	t.Helper()
	_, err := w.guard.Check(t.Context(), s.Token)
	require.NoError(t, err)
}

func (w *world) refused(t *testing.T, s accounts.Session) {
	t.Helper()
	_, err := w.guard.Check(t.Context(), s.Token)
	require.ErrorIs(t, err, token.ErrRevoked)
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

func (w *world) register(t *testing.T, name string) accounts.Session {
	t.Helper()
	s, err := w.Register(t.Context(), api.RegisterRequest{Username: name, Password: alicesPassword, PublicKey: publicKey()})
	require.NoError(t, err)
	return s
}

func (w *world) login(t *testing.T, name, text string) accounts.Session {
	t.Helper()
	s, err := w.Login(t.Context(), api.LoginRequest{Username: name, Password: text})
	require.NoError(t, err)
	return s
}

func fail(err error) func() error { return func() error { return err } }
