package inbox

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/sealpost/sealpost/pkg/inbox/internal/recent"
	"github.com/sealpost/sealpost/pkg/store"
)

const (
	// rememberedSends is how many client message ids a node remembers at least, in some two megabytes; at most twice as many.
	rememberedSends = 1 << 16
	// rememberedSenders is how many senders of repeats a node remembers at least.
	rememberedSenders = 1 << 13
	// suspicion is how long a sender whose repeat has taken positions in vain has its sends looked up.
	suspicion = time.Hour
	// turnTimeout bounds how long a send waits for another under the same client message id. Then it goes on beside it.
	turnTimeout = time.Second
)

// repeats tells which sends are likely to be repeats. Those are looked up before they take positions: a repeat that is only recognized at its
// commit leaves an empty position in each inbox that it was addressed to. All other sends save that round trip.
//
// A send is looked up if this node has seen its client message id lately, or if a repeat of its sender has taken positions here in the last
// hour. Sends under one id take turns, so that the second one is known for a repeat.
//
// It only saves positions. What a send comes to is decided by the store, whatever this remembers.
type repeats struct {
	mu sync.Mutex
	// underWay has the id of each send under way, with those that wait for their turn, in order.
	underWay map[store.MessageID][]chan struct{}
	sends    *recent.Map[store.MessageID, struct{}]
	// senders has the time until which a sender's sends are looked up.
	senders *recent.Map[string, time.Time]
}

func newRepeats() *repeats {
	return &repeats{
		underWay: map[store.MessageID][]chan struct{}{},
		sends:    recent.New[store.MessageID, struct{}](rememberedSends), senders: recent.New[string, time.Time](rememberedSenders),
	}
}

// begin waits until no other send with the id is under way, but not for long. likely means that the send should be looked up first. If mine,
// end must be called.
func (r *repeats) begin(ctx context.Context, sender string, id store.MessageID) (likely, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if waiting, busy := r.underWay[id]; busy {
		turn := make(chan struct{})
		r.underWay[id] = append(waiting, turn)
		r.mu.Unlock()
		wait(ctx, turn)
		r.mu.Lock()
		if at := slices.Index(r.underWay[id], turn); at >= 0 { // nobody has handed the turn over
			r.underWay[id] = slices.Delete(r.underWay[id], at, at+1)
			return true, false
		}
		return true, true
	}
	r.underWay[id] = nil
	_, likely = r.sends.Get(id)
	return likely || r.suspects(sender), true
}

// wait waits for a turn, for turnTimeout at most.
func wait(ctx context.Context, turn <-chan struct{}) {
	timeout := time.NewTimer(turnTimeout)
	defer timeout.Stop()
	select {
	case <-turn:
	case <-timeout.C:
	case <-ctx.Done():
	}
}

// end remembers the id and lets the next send with it begin.
func (r *repeats) end(id store.MessageID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sends.Put(id, struct{}{})
	waiting := r.underWay[id]
	if len(waiting) == 0 {
		delete(r.underWay, id)
		return
	}
	r.underWay[id] = waiting[1:]
	close(waiting[0])
}

// suspects reports whether a sender's sends are looked up. r.mu is held.
func (r *repeats) suspects(sender string) bool {
	until, there := r.senders.Get(sender)
	return there && time.Now().Before(until)
}

// wasted notes that a repeat of a sender has taken positions that it did not need.
func (r *repeats) wasted(sender string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.senders.Put(sender, time.Now().Add(suspicion))
}

// found notes that the look-up of a send has found a repeat: a sender that is looked up stays so.
func (r *repeats) found(sender string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.suspects(sender) {
		r.senders.Put(sender, time.Now().Add(suspicion))
	}
}
