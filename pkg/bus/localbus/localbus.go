// Package localbus is the bus within one process: it calls the receiver directly, and loses nothing.
package localbus

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/bus/busmetrics"
)

// Bus implements the ports of package bus. Its methods may be called concurrently.
type Bus struct {
	receiver bus.Receiver
	metrics  busmetrics.Metrics

	mu sync.RWMutex
	// subscribed counts the subscriptions of each user.
	subscribed map[string]int
	// describe answers Ask; nil if no node answers.
	describe func() []byte
}

// New makes a Bus that gives events to r, in the goroutines that publish them. reg takes its metrics; nil registers them nowhere.
func New(r bus.Receiver, reg prometheus.Registerer) *Bus {
	b := &Bus{receiver: r, metrics: busmetrics.New(reg), subscribed: make(map[string]int)}
	busmetrics.Connected(reg, b.Connected)
	return b
}

// Publish implements bus.Publisher. It calls the receiver before it returns.
func (b *Bus) Publish(user string, payload []byte, traces []string) error {
	b.metrics.OK.Inc()
	b.mu.RLock()
	wanted := b.subscribed[user] > 0
	b.mu.RUnlock()
	if wanted {
		b.metrics.Received.Inc()
		b.receiver.Receive(user, bytes.Clone(payload), slices.Clone(traces))
	}
	return nil
}

// PublishRoom implements bus.Publisher. It calls the receiver before it returns.
func (b *Bus) PublishRoom(payload []byte, traces []string) error {
	b.metrics.OK.Inc()
	b.metrics.Received.Add(float64(b.receiver.ReceiveRoom(payload, traces)))
	return nil
}

// Receivers implements bus.Publisher.
func (b *Bus) Receivers() int { return 1 }

// Flush implements bus.Publisher.
func (b *Bus) Flush(context.Context) error { return nil }

// Subscribe implements bus.Subscriber. It does not wait.
func (b *Bus) Subscribe(_ context.Context, user string) (bus.Subscription, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.subscribed[user]++
	return &subscription{bus: b, user: user}, nil
}

// Connected implements bus.Subscriber.
func (b *Bus) Connected() bool { return true }

type subscription struct {
	bus  *Bus
	user string
	once sync.Once
}

// Unsubscribe implements bus.Subscription.
func (s *subscription) Unsubscribe() error {
	s.once.Do(func() {
		s.bus.mu.Lock()
		defer s.bus.mu.Unlock()
		if s.bus.subscribed[s.user]--; s.bus.subscribed[s.user] == 0 {
			delete(s.bus.subscribed, s.user)
		}
	})
	return nil
}

// Answer implements bus.Directory: this is the only node.
func (b *Bus) Answer(describe func() []byte) (stop func() error, err error) {
	b.set(describe)
	return func() error { b.set(nil); return nil }, nil
}

func (b *Bus) set(describe func() []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.describe = describe
}

// Ask implements bus.Directory.
func (b *Bus) Ask(context.Context) ([][]byte, error) {
	b.mu.RLock()
	describe := b.describe
	b.mu.RUnlock()
	if describe == nil {
		return nil, nil
	}
	return [][]byte{describe()}, nil
}
