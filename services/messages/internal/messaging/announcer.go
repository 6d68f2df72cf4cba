package messaging

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/batch"
	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/tracing"
)

const (
	// maxPayload bounds the bytes of one user's events in one payload. A receiver that keeps one event keeps its whole payload in
	// memory.
	maxPayload = 64 << 10
	// maxRoom bounds the bytes of rooms in one payload. A receiver keeps only what it needs of such a payload. It is a quarter of
	// NATS's limit; a single large message with its first reader exceeds it slightly.
	maxRoom = 256 << 10
	// maxAnnounced bounds how many events are batched.
	maxAnnounced = 8192
	// maxWhole is up to how many bytes in total the events of one send carry the message. Above it the events are references and
	// readers fetch the message from the store, so that a single send cannot flood the bus.
	maxWhole = 16 << 20
	// publicationBytes is the overhead of one publication, in bytes, for comparing how much work each form is for the bus.
	publicationBytes = 2 << 10
)

// Announcer publishes the events of committed messages. What the recipients of a message share is published once, as a room, if
// that is less work for the bus; otherwise each recipient gets a publication. Sends that end together, as after a group commit,
// share payloads: one for each recipient, or one of rooms, however many messages there are. Events that the bus loses are in the
// store; hints tell readers when that may have happened.
type Announcer struct {
	bus     bus.Publisher
	wire    *confirmer
	log     *slog.Logger
	metrics *Metrics
	batches *batch.Batcher[announcement, struct{}]
	// payloads and rooms are pools of buffers.
	payloads, rooms sync.Pool
}

// AnnouncerConfig holds the dependencies of an Announcer.
type AnnouncerConfig struct {
	Bus bus.Publisher
	// Hints may be nil, for a bus that cannot lose its connection.
	Hints bus.Hinter
	// Queue is how many sends may wait.
	Queue   int
	Log     *slog.Logger
	Metrics *Metrics
}

// announcement is a send whose events are not encoded yet: encoded for a thousand recipients, they would be too large to queue.
type announcement struct {
	entries []store.Entry
	encoder *delivery.MessageEncoder
	trace   *trace.SpanContext
	// whole: the events carry the message.
	whole bool
}

// event is one event of an announcement.
type event struct {
	*announcement
	entry *store.Entry
}

// appendTo adds the event to a payload.
func (e event) appendTo(b []byte) []byte {
	if !e.whole {
		return e.encoder.Reference(*e.entry).AppendTo(b)
	}
	return e.encoder.AppendFor(b, *e.entry)
}

// NewAnnouncer makes and starts an Announcer. Call Stop when done.
func NewAnnouncer(c AnnouncerConfig) *Announcer {
	a := &Announcer{bus: c.Bus, wire: newConfirmer(c.Bus, c.Hints, c.Log, c.Metrics), log: c.Log, metrics: c.Metrics}
	size := func(n announcement) int { return len(n.entries) }
	a.batches = batch.New(batch.Config{Queue: c.Queue, Items: maxAnnounced, Bytes: maxAnnounced}, size, a.publish)
	return a
}

// Stop ends the Announcer. It waits a short time for the bus to confirm the last publications, or for hints to report them.
func (a *Announcer) Stop() {
	a.batches.Stop()
	a.wire.stop()
}

// Waiting is how many sends are queued.
func (a *Announcer) Waiting() int { return a.batches.Waiting() }

// Announce publishes the events of a committed message, with the trace of ctx. It returns when the bus has taken them, even if ctx
// ends before: the message is committed, and a sender that goes away must not delay its readers.
func (a *Announcer) Announce(ctx context.Context, receipt inbox.Receipt) {
	if len(receipt.Entries) == 0 {
		return
	}
	ctx, span := tracing.Start(ctx, "publish", trace.SpanKindProducer)
	defer span.End()
	encoder := delivery.NewMessageEncoder(receipt.Message)
	list := []announcement{{
		entries: receipt.Entries, encoder: encoder, trace: tracing.Sampled(ctx), whole: encoder.Size()*len(receipt.Entries) <= maxWhole,
	}}
	if _, err := a.batches.Do(batch.For(context.Background(), receipt.Message.Sender), list); err != nil {
		_, _ = a.publish(context.Background(), list) // the queue is full or stopped: publish without a batch
	}
}

// publish publishes a batch.
func (a *Announcer) publish(_ context.Context, list []announcement) ([]struct{}, error) {
	var each []event
	var rooms []*announcement
	receivers := a.bus.Receivers()
	for i := range list {
		n := &list[i]
		if n.prefersRoom(receivers) {
			rooms = append(rooms, n)
			continue
		}
		for k := range n.entries {
			each = append(each, event{n, &n.entries[k]})
		}
	}
	if len(rooms) > 0 {
		a.publishRooms(rooms)
	}
	if len(each) > 0 {
		a.publishEach(each)
	}
	return make([]struct{}, len(list)), nil
}

// prefersRoom reports whether a room is less work for the bus than a publication for each reader. The bus takes a room in once and sends
// it to every receiver. It takes in a publication for each reader, and who waits for those is not known; most likely nobody.
func (n *announcement) prefersRoom(receivers int) bool {
	if receivers == 0 || len(n.entries) < 2 {
		return false
	}
	common, own := n.shared(), 0
	for i := range n.entries {
		own += delivery.MemberBytes(&n.entries[i], n.whole)
	}
	parts := 1 + (common+own)/maxRoom
	return (1+receivers)*(parts*(publicationBytes+common)+own) < len(n.entries)*(publicationBytes+common)+own
}

// shared is how many bytes of the events are common to all.
func (n *announcement) shared() int {
	if !n.whole {
		return 0
	}
	return n.encoder.Size()
}

// publishRooms publishes each announcement as a room, or a large one as several, and puts as many rooms into a payload as fit.
func (a *Announcer) publishRooms(list []*announcement) {
	next, _ := a.rooms.Get().(*roomPayload)
	if next == nil {
		next = new(roomPayload)
	}
	for _, n := range list {
		for left := n.entries; len(left) > 0; {
			if len(next.bytes)+n.shared()+delivery.MemberBytes(&left[0], n.whole) > maxRoom {
				a.handRooms(next)
			}
			var taken int
			next.bytes, taken = n.encoder.AppendRoom(next.bytes, left, n.whole, maxRoom)
			for i := range left[:taken] {
				next.users = append(next.users, left[i].User)
			}
			next.events = append(next.events, n.sampled())
			left = left[taken:]
		}
	}
	a.handRooms(next)
	if cap(next.bytes) <= 2*maxRoom {
		a.rooms.Put(next)
	}
}

// roomPayload is one publication: rooms, with their traces and readers.
type roomPayload struct {
	bytes  []byte
	users  []string
	events []*trace.SpanContext
}

// handRooms publishes a payload unless it is empty. The bus does not retain it.
func (a *Announcer) handRooms(p *roomPayload) {
	if len(p.users) > 0 {
		if err := a.wire.publishRoom(p.users, p.bytes, traces(p.events)); err != nil {
			a.failed(len(p.users), err)
		}
	}
	clear(p.users)
	p.bytes, p.users, p.events = p.bytes[:0], p.users[:0], p.events[:0]
}

// publishEach publishes events sorted by user and position. It encodes those of one payload at a time.
func (a *Announcer) publishEach(list []event) {
	slices.SortFunc(list, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.entry.User, b.entry.User), cmp.Compare(a.entry.Position, b.entry.Position))
	})
	next, _ := a.payloads.Get().(*payload)
	if next == nil {
		next = new(payload)
	}
	for _, e := range list {
		if next.user != e.entry.User {
			a.hand(next, len(next.bytes))
			next.user = e.entry.User
		}
		before := len(next.bytes)
		if next.bytes = e.appendTo(next.bytes); len(next.bytes) > maxPayload && before > 0 {
			a.hand(next, before)
		}
		next.events = append(next.events, e.sampled())
	}
	a.hand(next, len(next.bytes))
	if cap(next.bytes) <= 2*maxPayload {
		a.payloads.Put(next)
	}
}

// sampled is the trace of an event that carries its message.
func (n *announcement) sampled() *trace.SpanContext {
	if !n.whole {
		return nil
	}
	return n.trace
}

// payload is one publication: the events of one user, with their traces.
type payload struct {
	user   string
	bytes  []byte
	events []*trace.SpanContext
}

// hand publishes the first bytes of a payload, which hold all its events, unless it has none. The rest stays in the payload. The
// bus does not retain it.
func (a *Announcer) hand(p *payload, bytes int) {
	if len(p.events) > 0 {
		if err := a.wire.publish(p.user, p.bytes[:bytes], traces(p.events)); err != nil {
			a.failed(len(p.events), err)
		}
	}
	p.bytes, p.events = append(p.bytes[:0], p.bytes[bytes:]...), p.events[:0]
}

// traces returns the events' traces, or nil if none is sampled.
func traces(events []*trace.SpanContext) []string {
	if !slices.ContainsFunc(events, func(t *trace.SpanContext) bool { return t != nil }) {
		return nil
	}
	all := make([]string, len(events))
	for i, t := range events {
		all[i] = tracing.Traceparent(t)
	}
	return all
}

func (a *Announcer) failed(events int, err error) {
	a.metrics.unpublished.Add(float64(events))
	a.log.Debug("events not published", "events", events, "error", err.Error())
}
