package gateway

import (
	"hash/maphash"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/tracing"
)

// ReceiveRoom implements bus.Receiver. What recipients share of a message is kept once for all mailboxes.
func (g *Gateway) ReceiveRoom(payload []byte, traces []string) (users int) {
	rooms, err := delivery.DecodeRooms(payload)
	if err != nil { // for unknown users
		g.metrics.malformed.Inc()
		g.Disrupted()
		return 0
	}
	all := roomEvents{expected: min(len(rooms), 8)}
	if len(rooms) > 1 {
		all.at = make(map[*mailbox]int)
	}
	for i, room := range rooms {
		var shared []byte
		var sampled *trace.SpanContext
		for member := range room.Members() {
			m := g.holds(member.User)
			if m == nil {
				continue
			}
			if member.Kind == delivery.Inline && shared == nil {
				shared = room.Common()
				if len(traces) == len(rooms) {
					sampled = tracing.Parse(traces[i])
				}
			}
			event := room.Event(member, shared)
			if event.Kind == delivery.Inline {
				event.Trace = sampled
			}
			all.add(m, event)
		}
	}
	for _, h := range all.list {
		h.mailbox.handle(h.events)
	}
	return all.users
}

// roomEvents groups events by mailbox, so that several events for one mailbox become one answer.
type roomEvents struct {
	users int
	// expected is a guess of how many events a mailbox gets.
	expected int
	list     []handout
	// at is the index of a mailbox in the list. It is nil if no mailbox can occur twice: then each gets its event at once.
	at map[*mailbox]int
}

func (h *roomEvents) add(m *mailbox, e delivery.Event) {
	at, there := h.at[m]
	switch {
	case there:
		h.list[at].events = append(h.list[at].events, e)
		return
	case h.at == nil:
		m.handle([]delivery.Event{e})
	default:
		h.at[m] = len(h.list)
		h.list = append(h.list, handout{m, append(make([]delivery.Event, 0, h.expected), e)})
	}
	h.users++
}

type handout struct {
	mailbox *mailbox
	events  []delivery.Event
}

// holds finds the mailbox of a user, if this node has one.
func (g *Gateway) holds(user []byte) *mailbox {
	s := &g.shards[maphash.Bytes(g.seed, user)%uint64(len(g.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mailboxes[string(user)]
}
