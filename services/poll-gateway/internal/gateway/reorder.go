package gateway

import "github.com/sealpost/sealpost/pkg/delivery"

// maxReordered limits the events that wait for a predecessor. Those above it are read from the store.
const maxReordered = 1024

// reorder is the reorder buffer: events that came before their predecessors, and references. All are beyond the mailbox's head. The zero
// value is empty.
type reorder struct {
	events map[int64]delivery.Event
	bytes  int
}

func (r *reorder) empty() bool { return len(r.events) == 0 }

// has reports whether the event of a position is there.
func (r *reorder) has(position int64) bool {
	_, there := r.events[position]
	return there
}

// hold adds an event. If its object would exceed maxBytes in total it is kept as a reference, and read from the store later.
func (r *reorder) hold(e delivery.Event, maxBytes int) {
	if r.has(e.Position) || len(r.events) >= maxReordered {
		return
	}
	if r.bytes+e.Object.Len() > maxBytes {
		e.Kind, e.Object = delivery.Reference, delivery.JSON{}
	}
	if r.events == nil {
		r.events = make(map[int64]delivery.Event)
	}
	r.events[e.Position] = e
	r.bytes += e.Object.Len()
}

// take removes the event of a position and returns it, unless it is missing or a reference.
func (r *reorder) take(position int64) (delivery.Event, bool) {
	e, there := r.events[position]
	if !there || e.Kind == delivery.Reference {
		return delivery.Event{}, false
	}
	r.forget(position)
	return e, true
}

func (r *reorder) forget(position int64) {
	r.bytes -= r.events[position].Object.Len()
	delete(r.events, position)
	if len(r.events) == 0 {
		r.events = nil
	}
}

// passed removes the events up to head.
func (r *reorder) passed(head int64) {
	for position := range r.events {
		if position <= head {
			r.forget(position)
		}
	}
}
