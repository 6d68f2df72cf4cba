package natsbus

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// herePrefix and its id is where a node with a Receiver says that it is there, and forgetAfter is when one counts no more that
	// has not.
	herePrefix   = "rooms.v1.here."
	presentEvery = 2 * time.Second
	forgetAfter  = 10 * time.Second
	// maxReceivers bounds what is remembered of them.
	maxReceivers = 1 << 12
)

// receivers are those that have been heard of, by their subjects, and when.
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

// count is how many there are; it forgets those that are gone.
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

// joinRooms has a node with a Receiver hear rooms, and any other hear how many of those there are.
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

// present says now and then that this node has a Receiver. It hears rooms already: its subscription went out first.
func (b *Bus) present() {
	if b.receiver == nil || time.Since(b.presented) < presentEvery || !b.conn.IsConnected() {
		return
	}
	b.presented = time.Now()
	if err := b.conn.Publish(b.here, nil); err != nil {
		b.log.Debug("could not say that this node is there", "error", err.Error())
	}
}

// Receivers implements bus.Publisher. A node with a Receiver of its own does not count.
func (b *Bus) Receivers() int {
	if b.heard == nil {
		return 0
	}
	return b.heard.count()
}
