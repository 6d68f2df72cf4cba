// Package natsbus is the bus on NATS core publish-subscribe.
package natsbus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/bus/busmetrics"
	"github.com/sealpost/sealpost/pkg/tracing"
)

const (
	inboxPrefix = "inbox.v1."
	nodeSubject = "nodes.v1"
	keysSubject = "keys.v1"
	roomSubject = "rooms.v1.events"
	// queueLength is how many events can wait for the receiver. The receiver does not block, so the queue is for bursts:
	// full of events of 1 KB it takes 64 MB. What does not fit is dropped, and the receiver is told of a disruption.
	queueLength = 1 << 16
	// subscribeTimeout limits the wait for the server to confirm a subscription.
	subscribeTimeout = 2 * time.Second
	// writeTimeout is how long a write may block; then the bus reconnects.
	writeTimeout = time.Second
	// flushTimeout limits a Flush in addition to its context.
	flushTimeout = 2 * time.Second
	// watchEvery is how often the bus pings the server, and silence how long the answer may take. If something on the way drops packets
	// silently, the connection looks healthy for half a minute.
	watchEvery = 500 * time.Millisecond
	silence    = 1500 * time.Millisecond
	// askStall ends an Ask when no further answer has come for this long; askLimit ends it in any case.
	askStall = 100 * time.Millisecond
	askLimit = 500 * time.Millisecond
)

// The operations reported to Options.Observe.
const (
	opPublish   = "publish"
	opSubscribe = "subscribe"
)

// Operations returns the operations of Options.Observe.
func Operations() []string { return []string{opPublish, opSubscribe} }

// Options configure Connect.
type Options struct {
	// Name appears in the server's list of connections.
	Name string
	Log  *slog.Logger
	// Registerer takes the bus's metrics; nil registers them nowhere.
	Registerer prometheus.Registerer
	// Observe is called for every publication and subscription, with its duration; may be nil.
	Observe func(ctx context.Context, operation string, took time.Duration, failed bool)
	// Receiver gets the events of all subscriptions; nil for a node that only publishes.
	Receiver bus.Receiver
	// NATS are further options, such as credentials, TLS or an in-process server.
	NATS []nats.Option
}

// Bus implements the ports of package bus on one connection. If the connection is lost, it reconnects without limit.
type Bus struct {
	conn     *nats.Conn
	log      *slog.Logger
	observe  func(ctx context.Context, operation string, took time.Duration, failed bool)
	receiver bus.Receiver
	events   chan *nats.Msg
	// silent: the server has not answered for a while, though the connection is up.
	silent atomic.Bool
	// flushed is the connection, counted from the first, that last answered Flush.
	flushed uint64
	quit    chan struct{}
	tasks   sync.WaitGroup
	stop    sync.Once
	// keys is the follower of keys, or nil.
	keys atomic.Pointer[bus.KeyFollower]
	// heard are the receivers, on a node that only publishes; nil on a receiver.
	heard *receivers
	// here is the subject on which a receiver announces itself, and presented when it last did. Only watch uses them.
	here      string
	presented time.Time
	metrics   busmetrics.Metrics
}

// Connect starts to connect to the servers in url (comma-separated). It does not wait for the connection: see Connected.
func Connect(url string, o Options) (*Bus, error) {
	b := &Bus{
		log: o.Log, observe: o.Observe, receiver: o.Receiver, events: make(chan *nats.Msg, queueLength),
		quit: make(chan struct{}),
	}
	if b.observe == nil {
		b.observe = func(context.Context, string, time.Duration, bool) {}
	}
	options := append([]nats.Option{
		nats.Name(o.Name),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		// Retry after a refusal: passwords change.
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 500*time.Millisecond),
		// Do not buffer events while disconnected: they go stale, and their readers read the store.
		nats.ReconnectBufSize(-1),
		// A server that accepts no data must not block publishers: see Publish.
		nats.FlusherTimeout(writeTimeout),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { b.disrupted("disconnect", err) }),
		nats.ReconnectHandler(func(*nats.Conn) { b.disrupted("reconnect", nil) }),
		nats.ConnectHandler(func(*nats.Conn) { b.disrupted("reconnect", nil) }),
		nats.ErrorHandler(b.failed),
	}, o.NATS...)
	b.metrics = busmetrics.New(o.Registerer)
	conn, err := nats.Connect(url, options...)
	if err != nil {
		return nil, fmt.Errorf("NATS: %w", err)
	}
	b.conn = conn
	if err := b.joinRooms(); err != nil {
		conn.Close()
		return nil, err
	}
	busmetrics.Connected(o.Registerer, b.Connected)
	b.tasks.Go(b.dispatch)
	b.tasks.Go(b.watch)
	return b, nil
}

// Close closes the connection.
func (b *Bus) Close() {
	b.stop.Do(func() {
		b.conn.Close()
		close(b.quit)
	})
	b.tasks.Wait()
}

// dispatch passes events to the receiver in the order in which they came. One goroutine serves all subscriptions: one each would take
// more memory than the polls they serve.
func (b *Bus) dispatch() {
	for {
		select {
		case m := <-b.events:
			b.hand(m)
		case <-b.quit:
			return
		}
	}
}

func (b *Bus) hand(m *nats.Msg) {
	traces := m.Header.Values(tracing.Header)
	if m.Subject == roomSubject {
		b.metrics.Received.Add(float64(b.receiver.ReceiveRoom(m.Data, traces)))
		return
	}
	b.metrics.Received.Inc()
	b.receiver.Receive(strings.TrimPrefix(m.Subject, inboxPrefix), m.Data, traces)
}

// watch detects when the server stops answering, and when it answers again.
func (b *Bus) watch() {
	beat := time.NewTicker(watchEvery)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
		case <-b.quit:
			return
		}
		b.present()
		if !b.conn.IsConnected() {
			b.silent.Store(false) // the handlers of disconnect and reconnect report this
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), silence)
		err := b.ping(ctx)
		cancel()
		switch {
		case err == nil && b.silent.CompareAndSwap(true, false):
			b.disrupted("reconnect", nil) // events that were held up came late
		case errors.Is(err, context.DeadlineExceeded) && b.conn.IsConnected() && b.silent.CompareAndSwap(false, true):
			b.disrupted("silent", err)
		}
	}
}

// ping waits for the server's answer, which comes after the server has processed everything sent before.
func (b *Bus) ping(ctx context.Context) error { return b.conn.FlushWithContext(ctx) }

func (b *Bus) disrupted(cause string, err error) {
	b.metrics.Disruptions.WithLabelValues(cause).Inc()
	if cause == "reconnect" {
		b.log.Info("bus connected")
	} else {
		b.log.Warn("bus disrupted", "cause", cause, "error", fmt.Sprint(err))
	}
	if b.receiver != nil {
		b.receiver.Disrupted()
	}
	if f := b.keys.Load(); f != nil {
		(*f).KeysMissed()
	}
}

func (b *Bus) failed(_ *nats.Conn, _ *nats.Subscription, err error) {
	if errors.Is(err, nats.ErrSlowConsumer) {
		b.disrupted("slow_consumer", err)
		return
	}
	b.log.Warn("bus error", "error", err.Error())
}

// Connected implements bus.Subscriber.
func (b *Bus) Connected() bool { return b.conn.IsConnected() && !b.silent.Load() }

// Publish implements bus.Publisher. It makes no span: one send may publish a thousand times.
func (b *Bus) Publish(user string, payload []byte, traces []string) error {
	return b.publish(inboxPrefix+user, payload, traces)
}

// PublishRoom implements bus.Publisher.
func (b *Bus) PublishRoom(payload []byte, traces []string) error {
	return b.publish(roomSubject, payload, traces)
}

func (b *Bus) publish(subject string, payload []byte, traces []string) (err error) {
	defer b.measure(context.Background(), opPublish, time.Now(), &err)
	if !b.conn.IsConnected() {
		b.metrics.Disconnected.Inc()
		return bus.ErrDisconnected
	}
	if err := b.send(subject, payload, traces); err != nil {
		b.metrics.Failed.Inc()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// The server accepts no data: further publishers would wait as long. While disconnected, they fail at once.
			_ = b.conn.ForceReconnect()
		}
		return fmt.Errorf("publish: %w", err)
	}
	b.metrics.OK.Inc()
	return nil
}

// send adds a header only for traces.
func (b *Bus) send(subject string, payload []byte, traces []string) error {
	if len(traces) == 0 {
		return b.conn.Publish(subject, payload)
	}
	return b.conn.PublishMsg(&nats.Msg{Subject: subject, Data: payload, Header: nats.Header{tracing.Header: traces}})
}

// Flush implements bus.Publisher.
func (b *Bus) Flush(ctx context.Context) error {
	connection := b.conn.Stats().Reconnects
	if !b.conn.IsConnected() {
		return bus.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	if err := b.ping(ctx); err != nil {
		return fmt.Errorf("%w: %w", bus.ErrDisconnected, err)
	}
	before := b.flushed
	b.flushed = connection
	if before != connection || b.conn.Stats().Reconnects != connection {
		return fmt.Errorf("%w: it has been connected anew", bus.ErrDisconnected)
	}
	return nil
}

// Subscribe implements bus.Subscriber.
func (b *Bus) Subscribe(ctx context.Context, user string) (_ bus.Subscription, err error) {
	defer b.measure(ctx, opSubscribe, time.Now(), &err)
	s, err := b.conn.ChanSubscribe(inboxPrefix+user, b.events)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	if !b.conn.IsConnected() {
		return s, bus.ErrDisconnected
	}
	ctx, cancel := context.WithTimeout(ctx, subscribeTimeout)
	defer cancel()
	if err := b.ping(ctx); err != nil {
		return s, fmt.Errorf("%w: %w", bus.ErrDisconnected, err)
	}
	return s, nil
}

// PublishKeyChange implements bus.KeyPublisher.
func (b *Bus) PublishKeyChange(user string) error {
	if !b.conn.IsConnected() {
		return bus.ErrDisconnected
	}
	if err := b.conn.Publish(keysSubject, []byte(user)); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// FollowKeys calls f for changes of keys, until Close. Call it once. While the bus is not Connected, f is not called.
func (b *Bus) FollowKeys(f bus.KeyFollower) error {
	b.keys.Store(&f)
	_, err := b.conn.Subscribe(keysSubject, func(m *nats.Msg) { f.KeyChanged(string(m.Data)) })
	if err != nil {
		return fmt.Errorf("follow keys: %w", err)
	}
	return nil
}

// measure reports an operation that ends now. A canceled context is not a failure of the bus.
func (b *Bus) measure(ctx context.Context, operation string, began time.Time, err *error) {
	b.observe(ctx, operation, time.Since(began), *err != nil && !errors.Is(*err, context.Canceled))
}

// Answer implements bus.Directory.
func (b *Bus) Answer(describe func() []byte) (stop func() error, err error) {
	s, err := b.conn.Subscribe(nodeSubject, func(m *nats.Msg) {
		if err := m.Respond(describe()); err != nil {
			b.log.Debug("could not describe this node", "error", err.Error())
		}
	})
	if err != nil {
		return nil, fmt.Errorf("answer: %w", err)
	}
	return s.Unsubscribe, nil
}

// Ask implements bus.Directory.
func (b *Bus) Ask(ctx context.Context) ([][]byte, error) {
	if !b.conn.IsConnected() {
		return nil, bus.ErrDisconnected
	}
	reply := nats.NewInbox() + "." + fmt.Sprint(rand.Uint64())
	s, err := b.conn.SubscribeSync(reply)
	if err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	defer func() { _ = s.Unsubscribe() }()
	if err := b.conn.PublishRequest(nodeSubject, reply, nil); err != nil {
		return nil, fmt.Errorf("ask: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var answers [][]byte
	for {
		next, cancel := context.WithTimeout(ctx, askStall)
		m, err := s.NextMsgWithContext(next)
		cancel()
		if err != nil || (len(m.Data) == 0 && m.Header.Get("Status") == "503") { // no responders, or no further answers
			return answers, nil
		}
		answers = append(answers, m.Data)
	}
}
