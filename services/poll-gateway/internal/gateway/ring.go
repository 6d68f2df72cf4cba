package gateway

import "github.com/sealpost/sealpost/pkg/delivery"

// ring keeps the last events of an inbox. They are contiguous, and the newest stands at the mailbox's head.
type ring struct {
	events []delivery.Event
	bytes  int
	// mark is the head at the last call of aged: the next call counts the events up to it.
	mark int64
}

// push appends the event after the newest.
func (r *ring) push(e delivery.Event) {
	r.events = append(r.events, e)
	r.bytes += e.Object.Len()
}

// after returns the events after a position, and whether the ring reaches back that far.
func (r *ring) after(position, head int64) ([]delivery.Event, bool) {
	oldest := head - int64(len(r.events))
	if position < oldest || position > head {
		return nil, false
	}
	return r.events[position-oldest:], true
}

// excess is how many of the oldest events must be dropped to keep the limits and to free spare bytes.
func (r *ring) excess(maxEvents, maxBytes int, spare int64) int {
	n, freed := 0, 0
	for n < len(r.events) && (len(r.events)-n > maxEvents || r.bytes-freed > maxBytes || spare > int64(freed)) {
		freed += r.events[n].Object.Len()
		n++
	}
	return n
}

// aged is how many events were there at its last call already. It marks the present ones.
func (r *ring) aged(head int64) int {
	n := 0
	for n < len(r.events) && r.events[n].Position <= r.mark {
		n++
	}
	r.mark = head
	return n
}

// drop removes the oldest n events and returns their bytes.
func (r *ring) drop(n int) (freed int) {
	for i := range r.events[:n] {
		freed += r.events[i].Object.Len()
		r.events[i] = delivery.Event{}
	}
	r.bytes -= freed
	if r.events = r.events[n:]; len(r.events) == 0 {
		r.events = nil
	}
	return freed
}
