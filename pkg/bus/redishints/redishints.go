// Package redishints carries hints over Redis pub/sub. A node whose events the bus may have lost names the users, and the nodes that hold
// their polls read the store.
package redishints

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/sealpost/sealpost/pkg/bus"
)

const (
	// Channel is the channel of the hints: canonical names, one per line, or everybody.
	Channel = "sealpost:look"
	// everybody is not a valid user name.
	everybody = "*"
	// beat is how long a listener may receive nothing before it pings Redis, and how long it waits for the answer.
	beat = time.Second
	// minBackoff and maxBackoff limit the pause before a listener subscribes again.
	minBackoff = 250 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// Hinter implements bus.Hinter.
type Hinter struct{ redis redis.UniversalClient }

// NewHinter makes a Hinter.
func NewHinter(client redis.UniversalClient) *Hinter { return &Hinter{client} }

// Hint implements bus.Hinter.
func (h *Hinter) Hint(ctx context.Context, users []string) error {
	payload := everybody
	if len(users) > 0 {
		payload = strings.Join(users, "\n")
	}
	return h.redis.Publish(ctx, Channel, payload).Err()
}

// Listener passes hints to a Receiver.
type Listener struct {
	redis    redis.UniversalClient
	receiver bus.Receiver
	log      *slog.Logger
	metrics  listenerMetrics
}

// NewListener makes a Listener. Its metrics are registered with reg; nil registers them nowhere.
func NewListener(client redis.UniversalClient, r bus.Receiver, log *slog.Logger, reg prometheus.Registerer) *Listener {
	return &Listener{redis: client, receiver: r, log: log, metrics: newListenerMetrics(reg)}
}

// Run listens until ctx ends. Each time it starts to receive hints it may have missed some, so it reports a disruption to the Receiver.
func (l *Listener) Run(ctx context.Context) {
	told := false // it has been logged that no hints are received
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		err := l.listen(ctx, func() {
			backoff, told = minBackoff, false
			l.log.Info("hints arrive again")
			l.metrics.listening.Set(1)
			l.receiver.Disrupted()
		})
		l.metrics.listening.Set(0)
		if ctx.Err() != nil {
			return
		}
		if !told {
			told = true
			l.log.Warn("hints do not arrive: messages of senders without NATS come late", "error", err.Error())
		}
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return
		}
	}
}

// listen subscribes on a separate connection and passes hints on, until that connection fails or ctx ends.
func (l *Listener) listen(ctx context.Context, heard func()) error {
	subscription := l.redis.Subscribe(ctx, Channel)
	defer func() { _ = subscription.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = subscription.Close() }) // ends a read that still waits
	defer stop()
	asked := false
	for {
		message, err := subscription.ReceiveTimeout(ctx, beat)
		if errors.Is(err, os.ErrDeadlineExceeded) && !asked {
			asked, err = true, subscription.Ping(ctx)
			message = nil
		} else {
			asked = false
		}
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *redis.Subscription:
			heard()
		case *redis.Message:
			l.take(m.Payload)
		}
	}
}

func (l *Listener) take(payload string) {
	if payload == everybody {
		l.metrics.received.WithLabelValues("everybody").Inc()
		l.receiver.Hinted(nil)
		return
	}
	l.metrics.received.WithLabelValues("users").Inc()
	l.receiver.Hinted(strings.Split(payload, "\n"))
}
