// Package remotekeys caches the keys that verify tokens, as the auth service publishes them (RFC 7517).
package remotekeys

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/token"
)

const (
	// interval is how often the keys are fetched. A key must be published for longer than that before it signs.
	interval = time.Minute
	// unknownInterval bounds how often unknown key ids can trigger an earlier fetch: anyone can send any id.
	unknownInterval = 5 * time.Second
	fetchTimeout    = 3 * time.Second
	maxBytes        = 1 << 20
)

// KeySet implements token.KeySet. Key does no I/O: Run fetches.
type KeySet struct {
	url     string
	client  *http.Client
	log     *slog.Logger
	failed  prometheus.Counter
	fetched prometheus.Gauge
	count   prometheus.Gauge
	keys    atomic.Pointer[token.StaticKeySet]
	unknown chan struct{}
}

// New makes a set of the keys at url. It is empty until Fetch. reg may be nil.
func New(url string, log *slog.Logger, reg prometheus.Registerer) *KeySet {
	f := promauto.With(reg)
	return &KeySet{
		url: url, client: &http.Client{Timeout: fetchTimeout}, log: log, unknown: make(chan struct{}, 1),
		failed: f.NewCounter(prometheus.CounterOpts{
			Name: "sealpost_token_keys_failures_total", Help: "Times that the keys which verify tokens could not be fetched from the auth service.",
		}),
		fetched: f.NewGauge(prometheus.GaugeOpts{
			Name: "sealpost_token_keys_fetched_timestamp_seconds", Help: "When the keys which verify tokens were last fetched.",
		}),
		count: f.NewGauge(prometheus.GaugeOpts{Name: "sealpost_token_keys", Help: "Keys which verify tokens, as they were last fetched."}),
	}
}

// Key implements token.KeySet.
func (s *KeySet) Key(kid string) (ed25519.PublicKey, bool) {
	if keys := s.keys.Load(); keys != nil {
		if key, ok := keys.Key(kid); ok {
			return key, true
		}
	}
	select {
	case s.unknown <- struct{}{}:
	default:
	}
	return nil, false
}

// Run fetches the keys regularly until ctx ends, and sooner when an unknown key was requested. While fetches fail, the known keys
// stay valid.
func (s *KeySet) Run(ctx context.Context) {
	for {
		if !s.pause(ctx) {
			return
		}
		if err := s.Fetch(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("could not fetch the keys that verify tokens", "error", err.Error())
		}
	}
}

// pause waits until the next fetch is due; false means that ctx has ended.
func (s *KeySet) pause(ctx context.Context) bool {
	select {
	case <-time.After(unknownInterval):
	case <-ctx.Done():
		return false
	}
	select {
	case <-time.After(interval - rand.N(interval/5)):
	case <-s.unknown:
	case <-ctx.Done():
		return false
	}
	return true
}

// Fetch replaces the keys with those published now.
func (s *KeySet) Fetch(ctx context.Context) error {
	keys, err := s.fetch(ctx)
	if err != nil {
		s.failed.Inc()
		return err
	}
	s.keys.Store(&keys)
	s.count.Set(float64(len(keys)))
	s.fetched.SetToCurrentTime()
	return nil
}

func (s *KeySet) fetch(ctx context.Context) (token.StaticKeySet, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", s.url, res.Status)
	}
	var set api.JWKS
	if err := json.NewDecoder(io.LimitReader(res.Body, maxBytes)).Decode(&set); err != nil {
		return nil, fmt.Errorf("%s: %w", s.url, err)
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("the published key set is empty")
	}
	return token.ParseJWKS(set)
}
