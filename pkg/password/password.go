// Package password normalizes passwords, and hashes and compares them with Argon2id. It bounds concurrent hashes to what the machine has
// room for, and shares the workers fairly between requesters.
package password

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ErrAtCapacity means that more hashes are requested than can be computed in time.
var ErrAtCapacity = errors.New("password hashing is at capacity")

// Config says what hashes cost and how many are computed at a time.
type Config struct {
	Params Params
	// Workers is how many hashes are computed at a time; 0 means all cores but one, at least one: the rest of the
	// process goes on in a flood. Each takes Params.MemoryKiB of memory.
	Workers int
	// Queue is how many callers may wait for a worker, and QueueWait how long.
	Queue     int
	QueueWait time.Duration
	// Registry registers the metrics; nil means none.
	Registry prometheus.Registerer
}

// Hasher computes and checks hashes.
type Hasher struct {
	params  Params
	queue   *queue
	metrics *metrics
	// nobodys is a hash that no known password matches. The password of an unknown user is compared with it, at the same cost as a
	// known user's.
	nobodys digest
}

// New makes a Hasher, or reports what is wrong with cfg. It computes one hash.
func New(cfg Config) (*Hasher, error) {
	if err := cfg.Params.Validate(); err != nil {
		return nil, err
	}
	if cfg.Workers < 0 || cfg.Queue < 0 || cfg.QueueWait <= 0 {
		return nil, errors.New("workers and queue must not be negative, and the wait must be positive")
	}
	if cfg.Workers == 0 {
		cfg.Workers = max(1, runtime.GOMAXPROCS(0)-1)
	}
	h := &Hasher{params: cfg.Params, queue: newQueue(cfg.Workers, cfg.Queue, cfg.QueueWait), metrics: newMetrics(cfg.Registry)}
	h.nobodys = compute(cfg.Params, hex.EncodeToString(randomBytes(keyBytes)), randomBytes(saltBytes))
	return h, nil
}

// Hash returns the hash of a password's normalized form in the PHC string format. Its errors wrap ErrAtCapacity or the context's.
func (h *Hasher) Hash(ctx context.Context, password string) (encoded string, err error) {
	return h.hash(ctx, Requester{}, password)
}

func (h *Hasher) hash(ctx context.Context, r Requester, password string) (encoded string, err error) {
	password = Normalized(password)
	err = h.work(ctx, r, func() {
		defer h.timed()()
		encoded = compute(h.params, password, randomBytes(saltBytes)).encode()
	})
	return encoded, err
}

// Verify reports whether the password matches the hash, in its normalized form or as it is, and whether the hash is outdated: weaker
// than a new one would be, or not of the normalized form. Its errors wrap ErrMalformed, ErrAtCapacity or the context's.
func (h *Hasher) Verify(ctx context.Context, password, encoded string) (match, outdated bool, err error) {
	return h.verify(ctx, Requester{}, password, encoded)
}

func (h *Hasher) verify(ctx context.Context, r Requester, password, encoded string) (match, outdated bool, err error) {
	d, err := decode(encoded)
	if err != nil {
		return false, false, err
	}
	matched := -1
	err = h.work(ctx, r, func() { matched = h.firstMatch(d, spellings(password)) })
	return matched >= 0, matched > 0 || d.weakerThan(h.params), err
}

// VerifyDummy takes as long as a Verify with a wrong password: it computes as many hashes.
func (h *Hasher) VerifyDummy(ctx context.Context, password string) error {
	return h.verifyDummy(ctx, Requester{}, password)
}

func (h *Hasher) verifyDummy(ctx context.Context, r Requester, password string) error {
	return h.work(ctx, r, func() { h.firstMatch(h.nobodys, spellings(password)) })
}

// firstMatch returns the index of the first text that matches, or -1. It computes a hash for each text until then.
func (h *Hasher) firstMatch(d digest, texts []string) int {
	return slices.IndexFunc(texts, func(text string) bool {
		defer h.timed()()
		return d.matches(text)
	})
}

// timed measures one hash, from its call to that of what it returns.
func (h *Hasher) timed() (done func()) {
	started := time.Now()
	return func() { h.metrics.hash.Observe(time.Since(started).Seconds()) }
}

// work runs f, which computes hashes one after the other, when a worker is free.
func (h *Hasher) work(ctx context.Context, r Requester, f func()) error {
	began, count := time.Now(), h.metrics.lanes[r.Lane]
	count.waiting.Inc()
	release, err := h.queue.enter(ctx, r)
	count.waiting.Dec()
	if err != nil {
		count.refused(err)
		return fmt.Errorf("wait to hash a password: %w", err)
	}
	defer release()
	count.wait.Observe(time.Since(began).Seconds())
	f()
	return nil
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // crypto/rand.Read never fails
	return b
}
