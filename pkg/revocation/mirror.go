package revocation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealpost/sealpost/pkg/token"
)

const (
	// maxRestoreDelay spreads over time the nodes that restore lost records.
	maxRestoreDelay = 2 * time.Second
)

// Mirror is a node's copy of the revocation log in memory. Known revocations hold while the log is unavailable; Staleness tells how old
// it is. It is safe for concurrent use.
type Mirror struct {
	log     Log
	logger  *slog.Logger
	metrics *metrics

	ready     chan struct{}
	readyOnce sync.Once
	// currentAt is when the copy was last complete; nil if never.
	currentAt atomic.Pointer[time.Time]

	mu    sync.RWMutex
	known recordSet
	// round counts how often the log was followed from its beginning.
	round int
	mine  unconfirmed

	// watching is held while watchers are called, so that none is called after its stop has returned.
	watching sync.Mutex
	watchers map[int]func(Record)
	lastID   int
}

// Option configures a Mirror.
type Option func(*Mirror)

// WithLogger sets the logger that is told when the log fails.
func WithLogger(l *slog.Logger) Option { return func(m *Mirror) { m.logger = l } }

// WithRegistry registers the Mirror's metrics. One of them is maxStaleness, above which tokens are refused.
func WithRegistry(reg prometheus.Registerer, maxStaleness time.Duration) Option {
	return func(m *Mirror) { m.metrics = newMetrics(reg, m, maxStaleness) }
}

// New makes a Mirror of log. It is empty until Run.
func New(log Log, opts ...Option) *Mirror {
	m := &Mirror{
		log: log, logger: slog.New(slog.DiscardHandler), ready: make(chan struct{}),
		known: newKnowledge(), mine: unconfirmed{}, watchers: map[int]func(Record){},
	}
	m.metrics = newMetrics(nil, m, 0)
	for _, o := range opts {
		o(m)
	}
	return m
}

// Run follows the log until ctx ends. When the log fails it pauses and starts again. If the log was emptied or went back to an older
// copy, Run appends the lost records that are known here again.
func (m *Mirror) Run(ctx context.Context) {
	pauses := newPauses()
	for round := 1; ; round++ {
		m.begin(round)
		err := m.follow(ctx, round, pauses.Reset)
		if ctx.Err() != nil {
			return
		}
		m.metrics.failures.Inc()
		m.logger.Warn("revocation log lost", "error", fmt.Sprint(err), "stalenessSeconds", m.Staleness().Seconds())
		select {
		case <-time.After(pauses.NextBackOff()):
		case <-ctx.Done():
			return
		}
	}
}

// follow follows the log from its beginning until it fails, and restores lost records.
func (m *Mirror) follow(ctx context.Context, round int, reached func()) error {
	var restoring sync.WaitGroup
	defer restoring.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	one := make(chan struct{}, 1) // held by the restorer
	first := true
	return m.log.Follow(ctx, m.delivered, func() {
		reached()
		if lost := m.current(); lost || (first && round > 1) {
			restoring.Go(func() {
				select {
				case one <- struct{}{}: // a restore under way may have passed the record that is lost now
					m.restore(ctx, round)
					<-one
				case <-ctx.Done():
				}
			})
		}
		first = false
	})
}

// restorePage is how many lost records are looked up at a time.
const restorePage = 128

// restore appends the known records that the log has not delivered in this round. All nodes that know them do so, after pauses of
// different lengths, so that most find it done. A failed append is retried, because the log may be followed even then.
func (m *Mirror) restore(ctx context.Context, round int) {
	pause, pauses := rand.N(maxRestoreDelay), newPauses()
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		restored, err := m.restoreMissing(ctx, round)
		if restored > 0 {
			pauses.Reset()
			m.logger.Warn("revocations that the log had lost were appended again", "records", restored)
		}
		if err == nil {
			return
		}
		m.logger.Warn("revocations that the log has lost could not be appended again", "error", fmt.Sprint(err))
		pause = pauses.NextBackOff()
	}
}

// restoreMissing appends what was not delivered in a round, until an append fails.
func (m *Mirror) restoreMissing(ctx context.Context, round int) (restored int, err error) {
	for {
		lost := m.missing(round)
		if len(lost) == 0 {
			return restored, nil
		}
		for _, r := range lost {
			if err := m.Revoke(ctx, r); err != nil {
				return restored, err
			}
			m.metrics.restored.Inc()
			restored++
		}
	}
}

func (m *Mirror) missing(round int) []Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known.trim(time.Now())
	return m.known.missing(round, restorePage)
}

func (m *Mirror) begin(round int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.round = round
}

// newPauses returns the pauses between attempts: from 0.1 s, doubled each time, up to 5 s, and random, so that nodes that lost the log
// together come back apart.
func newPauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval, b.RandomizationFactor = 100*time.Millisecond, 2, 4*time.Second, 0.25
	b.Reset()
	return b
}

// Ready is closed once the Mirror has read the whole log.
func (m *Mirror) Ready() <-chan struct{} { return m.ready }

// Revoked implements token.Revocations.
func (m *Mirror) Revoked(id token.Identity) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.known.refuses(id)
}

// MinGeneration returns the lowest generation of the account's tokens that is not known to be refused.
func (m *Mirror) MinGeneration(subject string) int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.known.accounts[subject].minGeneration
}

// Staleness returns how long ago the Mirror was last complete. Before Ready it is math.MaxInt64.
func (m *Mirror) Staleness() time.Duration {
	at := m.currentAt.Load()
	if at == nil {
		return math.MaxInt64
	}
	return time.Since(*at)
}

// Revoke appends a record to the log. When it returns nil the record is durable, holds on this node, and soon on all. Its errors wrap
// ErrUnavailable, unless the record refuses nothing.
func (m *Mirror) Revoke(ctx context.Context, r Record) error {
	if !r.meaningful() || r.ExpiresAt.IsZero() {
		return errors.New("revocation: the record refuses nothing")
	}
	m.note(r, unconfirmed.begin)
	if err := m.log.Append(ctx, r); err != nil {
		m.note(r, unconfirmed.end)
		return err
	}
	m.note(r, unconfirmed.took)
	m.apply(r)
	return nil
}

func (m *Mirror) note(r Record, what func(unconfirmed, Record)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	what(m.mine, r)
}

// delivered adds a record that the log delivers.
func (m *Mirror) delivered(r Record) {
	m.note(r, unconfirmed.end)
	m.apply(r)
}

// Watch calls f for each record that is new to this node, after the record holds here, until stop is called. Calls of f do not overlap,
// and none comes after stop has returned. f must be quick, and must not call Watch, Revoke or stop.
func (m *Mirror) Watch(f func(Record)) (stop func()) {
	m.watching.Lock()
	defer m.watching.Unlock()
	m.lastID++
	id := m.lastID
	m.watchers[id] = f
	return func() {
		m.watching.Lock()
		defer m.watching.Unlock()
		delete(m.watchers, id)
	}
}

// apply makes a record hold on this node. The log delivers all records again each time it is followed, and also those that this node
// appended: neither is new.
func (m *Mirror) apply(r Record) {
	m.mu.Lock()
	added := m.known.add(r, m.round, time.Now())
	m.mu.Unlock()
	if added {
		m.tell(r)
	}
}

func (m *Mirror) tell(r Record) {
	m.watching.Lock()
	defer m.watching.Unlock()
	for _, f := range m.watchers {
		f(r)
	}
}

// current notes that the copy is complete at this moment. lost means that the log has lost a record that it accepted from this node.
func (m *Mirror) current() (lost bool) {
	now := time.Now()
	m.currentAt.Store(&now)
	m.readyOnce.Do(func() { close(m.ready) })
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known.trim(now)
	for _, id := range m.mine.current(now) {
		m.known.lose(id)
		lost = true
	}
	return lost
}

// size returns how many records are known.
func (m *Mirror) size() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return len(m.known.tokens) + len(m.known.accounts)
}
