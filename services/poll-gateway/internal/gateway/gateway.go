// Package gateway holds the polls that wait. It keeps a mailbox for each user with a poll here. A mailbox subscribes to the user's
// events, knows the head of the user's inbox and keeps the last events in a small ring. The bus may lose any event: the gateway reads the
// store when an event is missing, and periodically in any case.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost/pkg/admission"
	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/revocation"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/token"
	"github.com/sealpost/sealpost/pkg/tracing"
)

var (
	// ErrAtCapacity means that as many polls are open as the settings allow.
	ErrAtCapacity = errors.New("gateway at capacity")
	// ErrTooManyPolls means that one user has as many polls open as the settings allow.
	ErrTooManyPolls = errors.New("too many polls of one user")
	// ErrDraining means that this node is about to stop.
	ErrDraining = errors.New("gateway draining")
	// ErrStale means that the store shows less of the log than a client is known to have seen, most likely because a replica that is behind
	// answered the read. A retry helps.
	ErrStale = fmt.Errorf("%w: it shows less than it did", store.ErrUnavailable)
	// ErrRevoked means that the token was revoked while its poll waited.
	ErrRevoked = token.ErrRevoked
)

// Inbox is what the gateway reads: the inbox log.
type Inbox interface {
	// Read returns the decided run after a position: see inbox.Reader.Read.
	Read(ctx context.Context, user string, after int64, limit int) (inbox.Batch, error)
	// Receipts returns who has read a message.
	Receipts(ctx context.Context, m store.Message) ([]store.ReadReceipt, error)
	// Head returns the position up to which everything is decided: see inbox.Reader.Head.
	Head(ctx context.Context, user string, decided int64) (int64, error)
}

// Config holds the settings.
type Config struct {
	// MaxPolls limits the open polls and streams of the node, MaxPollsPerUser those of one user.
	MaxPolls        int64
	MaxPollsPerUser int
	// Bounds measures the first; nil measures nothing.
	Bounds *admission.Metrics
	// RingEvents and RingBytes limit the ring of one user.
	RingEvents, RingBytes int
	// AllRingBytes limits the rings of all users together.
	AllRingBytes int64
	// VerifyEvery is how often a waiting user's inbox is verified against the store, jittered by a fifth either way.
	VerifyEvery time.Duration
	// AwayEvery replaces VerifyEvery while the bus is disconnected.
	AwayEvery time.Duration
	// Linger is how long a mailbox is kept after its last poll.
	Linger time.Duration
	// StoreReads limits the concurrent reads of the store.
	StoreReads int
	// Epochs provides the log's epoch.
	Epochs *Epochs
	// Revoked reports whether the token of an identity has been revoked.
	Revoked func(token.Identity) bool
}

// Gateway is the set of mailboxes of one node.
type Gateway struct {
	cfg     Config
	inbox   Inbox
	log     *slog.Logger
	metrics *Metrics
	bus     bus.Subscriber

	alarms alarms
	seed   maphash.Seed
	shards [64]shard
	// reads bounds the reads of the store.
	reads *admission.Turns
	// disruption counts the disruptions. A mailbox verified before the last one is not trusted.
	disruption atomic.Int64
	// away: the store failed the last read that a mailbox made for its waiters.
	away      atomic.Bool
	arrivals  arrivals
	places    *admission.Pool
	ringBytes atomic.Int64
	draining  chan struct{}
	drainOnce sync.Once
	// background ends with Stop. Timers start their work under it.
	background context.Context
	cancel     context.CancelFunc
	tasks      sync.WaitGroup
}

type shard struct {
	mu        sync.Mutex
	mailboxes map[string]*mailbox
	stopped   bool
}

// New makes a Gateway. It is the bus's receiver, so the bus is set later, with Attach.
func New(cfg Config, in Inbox, log *slog.Logger, m *Metrics) *Gateway {
	g := &Gateway{
		cfg: cfg, inbox: in, log: log, metrics: m, seed: maphash.MakeSeed(),
		alarms: alarms{start: time.Now()},
		reads:  admission.NewTurns(cfg.StoreReads), draining: make(chan struct{}),
		arrivals: newArrivals(), places: cfg.Bounds.Pool("polls", admission.Config{Size: cfg.MaxPolls}),
	}
	m.capacity.Set(float64(cfg.MaxPolls))
	g.background, g.cancel = context.WithCancel(context.Background())
	for i := range g.shards {
		g.shards[i].mailboxes = make(map[string]*mailbox)
	}
	cfg.Epochs.changed(func() { g.each((*mailbox).epochChanged) })
	return g
}

// Attach sets the bus. Call it before the first poll.
func (g *Gateway) Attach(b bus.Subscriber) { g.bus = b }

// Epochs returns what knows the epoch.
func (g *Gateway) Epochs() *Epochs { return g.cfg.Epochs }

// Open returns how many polls and streams are open.
func (g *Gateway) Open() int64 { return g.places.Held() }

// Capacity returns how many may be open.
func (g *Gateway) Capacity() int64 { return g.cfg.MaxPolls }

func (g *Gateway) shardOf(user string) *shard {
	return &g.shards[maphash.String(g.seed, user)%uint64(len(g.shards))]
}

// enter finds or makes the mailbox of who polls, and protects it from eviction until leave.
func (g *Gateway) enter(who admission.Holder) (*mailbox, error) {
	s := g.shardOf(who.User)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil, ErrDraining
	}
	m := s.mailboxes[who.User]
	if m == nil {
		m = newMailbox(g, who)
		s.mailboxes[who.User] = m
		g.metrics.warmUsers.Inc()
	}
	m.users++
	return m, nil
}

func (g *Gateway) leave(m *mailbox) {
	s := g.shardOf(m.user)
	s.mu.Lock()
	m.users--
	m.idleSince = g.alarms.now()
	idle := m.users == 0
	s.mu.Unlock()
	if idle {
		m.checkIn(g.cfg.Linger)
	}
}

// evict removes a mailbox that nobody has used for the linger time.
func (g *Gateway) evict(m *mailbox) {
	s := g.shardOf(m.user)
	s.mu.Lock()
	idle := m.users == 0 && s.mailboxes[m.user] == m
	left := g.cfg.Linger - (g.alarms.now() - m.idleSince)
	if idle && left <= 0 {
		delete(s.mailboxes, m.user)
	}
	s.mu.Unlock()
	switch {
	case !idle:
	case left > 0:
		m.checkIn(left)
	default:
		g.metrics.warmUsers.Dec()
		m.close()
	}
}

// each calls f for every mailbox.
func (g *Gateway) each(f func(*mailbox)) {
	for i := range g.shards {
		s := &g.shards[i]
		s.mu.Lock()
		list := make([]*mailbox, 0, len(s.mailboxes))
		for _, m := range s.mailboxes {
			list = append(list, m)
		}
		s.mu.Unlock()
		for _, m := range list {
			f(m)
		}
	}
}

func (g *Gateway) find(user string) *mailbox {
	s := g.shardOf(user)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mailboxes[user]
}

// Receive implements bus.Receiver.
func (g *Gateway) Receive(user string, payload []byte, traces []string) {
	events, err := delivery.Decode(payload)
	if len(traces) == len(events) {
		for i := range events {
			events[i].Trace = tracing.Parse(traces[i])
		}
	}
	if err != nil {
		g.metrics.malformed.Inc()
	}
	switch m := g.find(user); {
	case m == nil:
	case err != nil:
		m.eventLost()
	default:
		m.handle(events)
	}
}

// Disrupted implements bus.Receiver. From here on no mailbox is trusted until the store has been read again: within AwayEvery for one
// with waiters, on the next use for the others.
func (g *Gateway) Disrupted() {
	g.disruption.Add(1)
	g.each(func(m *mailbox) { m.checkIn(rand.N(g.cfg.AwayEvery)) })
}

// recheckEpoch asks the store for the log's epoch, at most once a second. If the epoch is another one, all mailboxes are restarted before
// this returns.
func (g *Gateway) recheckEpoch() {
	if _, err := g.cfg.Epochs.Recheck(g.background); err != nil {
		g.noteStoreHealth(err)
	}
}

// Hinted implements bus.Receiver. It distrusts the mailboxes of these users, or of all if none is named, until the store has been read: at
// once for those with waiters.
func (g *Gateway) Hinted(users []string) {
	if len(users) == 0 {
		g.Disrupted()
		return
	}
	for _, user := range users {
		if m := g.find(user); m != nil {
			m.eventLost()
		}
	}
}

// Revoked ends the waiting polls whose token r refuses.
func (g *Gateway) Revoked(r revocation.Record) {
	if m := g.find(r.Subject); m != nil {
		m.revoke(r)
	}
}

// Drain answers the waiting polls with a timeout, spread evenly over the given time, and refuses new ones. The clients poll again and
// reach another node.
func (g *Gateway) Drain(ctx context.Context, spread time.Duration) error {
	g.drainOnce.Do(func() { close(g.draining) })
	var waiting []*Parked
	g.each(func(m *mailbox) { waiting = append(waiting, m.waiting()...) })
	if len(waiting) == 0 {
		return nil
	}
	pace := time.NewTicker(max(spread/time.Duration(len(waiting)), time.Microsecond))
	defer pace.Stop()
	for _, p := range waiting {
		p.mailbox.release(p)
		select {
		case <-pace.C:
		case <-ctx.Done():
			g.each((*mailbox).releaseAll)
			return ctx.Err()
		}
	}
	g.each((*mailbox).releaseAll)
	return nil
}

func (g *Gateway) isDraining() bool {
	select {
	case <-g.draining:
		return true
	default:
		return false
	}
}

// Stop ends all work. Polls that still wait are answered with a timeout.
func (g *Gateway) Stop() {
	g.drainOnce.Do(func() { close(g.draining) })
	for i := range g.shards {
		g.shards[i].mu.Lock()
		g.shards[i].stopped = true
		g.shards[i].mu.Unlock()
	}
	g.each(func(m *mailbox) {
		m.releaseAll()
		m.close()
	})
	g.cancel()
	g.tasks.Wait()
}

// read reads an inbox when it is the turn of its user.
func (g *Gateway) read(ctx context.Context, who admission.Holder, after int64, limit int) (inbox.Batch, error) {
	done, err := g.reads.Take(ctx, who)
	if err != nil {
		return inbox.Batch{}, err
	}
	defer done()
	return g.inbox.Read(ctx, who.User, after, limit)
}

// event makes the event that the bus would have carried.
func (g *Gateway) event(ctx context.Context, item inbox.Item) (delivery.Event, error) {
	var receipts []store.ReadReceipt
	if store.Canonical(item.Message.Sender) == item.Entry.User {
		var err error
		if receipts, err = g.inbox.Receipts(ctx, item.Message); err != nil {
			return delivery.Event{}, err
		}
	}
	return delivery.Stored(item, receipts), nil
}

// jittered spreads a period by a fifth either way.
func jittered(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1)
}
