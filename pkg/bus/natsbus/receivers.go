package natsbus

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// A node with a Receiver announces itself on herePrefix and its id, every presentEvery. One silent for forgetAfter is not counted.
	herePrefix   = "rooms.v1.here."
	presentEvery = 2 * time.Second
	forgetAfter  = 10 * time.Second
	// maxReceivers limits how many receivers are remembered.
	maxReceivers = 1 << 12
)

// receivers has the last announcement of each receiver, by its subject.
type receivers struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (r *receivers) hear(m *nats.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.last[m.Subject]; known || len(r.last) < maxReceivers {
		r.last[m.Subject] = time.Now()
	}
}

// count returns the live receivers, and forgets the others.
func (r *receivers) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, at := range r.last {
		if time.Since(at) > forgetAfter {
			delete(r.last, id)
		}
	}
	return len(r.last)
}

// joinRooms subscribes a receiver to rooms, any other node to the announcements of receivers.
func (b *Bus) joinRooms() (err error) {
	if b.receiver != nil {
		b.here = herePrefix + strings.TrimPrefix(nats.NewInbox(), nats.InboxPrefix)
		_, err = b.conn.ChanSubscribe(roomSubject, b.events)
	} else {
		b.heard = &receivers{last: make(map[string]time.Time)}
		_, err = b.conn.Subscribe(herePrefix+"*", b.heard.hear)
	}
	if err != nil {
		return fmt.Errorf("rooms: %w", err)
	}
	return nil
}

// present announces from time to time that this node has a Receiver. It already receives rooms: that subscription was sent first.
func (b *Bus) present() {
	if b.receiver == nil || time.Since(b.presented) < presentEvery || !b.conn.IsConnected() {
		return
	}
	b.presented = time.Now()
	if err := b.conn.Publish(b.here, nil); err != nil {
		b.log.Debug("could not announce this node", "error", err.Error())
	}
}

// Receivers implements bus.Publisher. On a node that has a Receiver it returns 0.
func (b *Bus) Receivers() int {
	if b.heard == nil {
		return 0
	}
	return b.heard.count()
}
