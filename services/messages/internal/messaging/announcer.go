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
	// maxPayload is the most bytes of one user's events that are put together into one payload. A receiver that keeps one event
	// keeps its whole payload in memory.
	maxPayload = 64 << 10
	// maxRoom is the most bytes of rooms that are. Of such a payload a receiver keeps what it needs. It is a quarter of what NATS
	// takes, which a single large message with its first reader exceeds by little.
	maxRoom = 256 << 10
	// maxAnnounced bounds how many events are put together at a time.
	maxAnnounced = 8192
	// maxWhole is up to how many bytes the events of one send carry the message. Those of a larger one, to many recipients, tell
	// where it stands, and its readers find it in the store: the bus must not be flooded by a single send.
	maxWhole = 16 << 20
	// publicationBytes is as how many bytes a publication counts beside those it has, when it is compared what the bus has to do.
	publicationBytes = 2 << 10
)

// Announcer tells the holders of polls what has been committed. What the readers of a message share is published once, as a room,
// where that is less work for the bus; else each has a publication of its own. Sends that end together, as they do behind a group
// commit, share what is published: one payload for each recipient, or one of rooms, however many messages there are. What the bus
// loses, readers find in the store; where it may have lost something, they are told of that by hints.
type Announcer struct {
	bus     bus.Publisher
	wire    *confirmer
	log     *slog.Logger
	metrics *Metrics
	batches *batch.Batcher[announcement, struct{}]
	// payloads and rooms are buffers.
	payloads, rooms sync.Pool
}

// AnnouncerConfig is what an Announcer stands on.
type AnnouncerConfig struct {
	Bus bus.Publisher
	// Hints may be nil: for a bus that nothing can come between.
	Hints bus.Hinter
	// Queue is how many sends may wait.
	Queue   int
	Log     *slog.Logger
	Metrics *Metrics
}

// announcement is a send, before its events are made: those of one to a thousand recipients together are too large.
type announcement struct {
	entries []store.Entry
	sheet   *delivery.Sheet
	trace   *trace.SpanContext
	// whole: the events carry the message.
	whole bool
}

// event is one of an announcement's.
type event struct {
	*announcement
	entry *store.Entry
}

// appendTo adds the event to a payload.
func (e event) appendTo(b []byte) []byte {
	if !e.whole {
		return e.sheet.Reference(*e.entry).AppendTo(b)
	}
	return e.sheet.AppendFor(b, *e.entry)
}

// NewAnnouncer makes an Announcer, and starts it. Stop it when done.
func NewAnnouncer(c AnnouncerConfig) *Announcer {
	a := &Announcer{bus: c.Bus, wire: newConfirmer(c.Bus, c.Hints, c.Log, c.Metrics), log: c.Log, metrics: c.Metrics}
	size := func(n announcement) int { return len(n.entries) }
	a.batches = batch.New(batch.Config{Queue: c.Queue, Items: maxAnnounced, Bytes: maxAnnounced}, size, a.publish)
	return a
}

// Stop ends the Announcer, when the bus has confirmed what was published last, or hints have told of it, or neither did in
// a short time.
func (a *Announcer) Stop() {
	a.batches.Stop()
	a.wire.stop()
}

// Waiting is how many sends wait for those before them.
func (a *Announcer) Waiting() int { return a.batches.Waiting() }

// Announce publishes the events of a committed message; whoever delivers them goes on with the trace of ctx. It returns
// when they have been handed to the bus, even if ctx ends before: the message is committed, and whoever sent it must not
// make its readers wait by going away.
func (a *Announcer) Announce(ctx context.Context, receipt inbox.Receipt) {
	if len(receipt.Entries) == 0 {
		return
	}
	ctx, span := tracing.Start(ctx, "publish", trace.SpanKindProducer)
	defer span.End()
	sheet := delivery.NewSheet(receipt.Message)
	list := []announcement{{
		entries: receipt.Entries, sheet: sheet, trace: tracing.Sampled(ctx), whole: sheet.Size()*len(receipt.Entries) <= maxWhole,
	}}
	if _, err := a.batches.Do(context.Background(), list); err != nil {
		_, _ = a.publish(context.Background(), list) // too many wait, or it is being stopped: then alone
	}
}

// publish hands what has come together to the bus.
func (a *Announcer) publish(_ context.Context, list []announcement) ([]struct{}, error) {
	var each []event
	var rooms []*announcement
	receivers := a.bus.Receivers()
	for i := range list {
		n := &list[i]
		if n.roomy(receivers) {
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

// roomy reports whether the bus has less to do with a room than with a publication for each reader: it takes a room in once and
// hands it to every receiver. Of the others it is not known how many somebody waits for; none, most likely.
func (n *announcement) roomy(receivers int) bool {
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

// shared is how many bytes of the events are the same for all.
func (n *announcement) shared() int {
	if !n.whole {
		return 0
	}
	return n.sheet.Size()
}

// publishRooms publishes each announcement as a room, or as several if it is large, as many as fit into a payload at a time.
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
			next.bytes, taken = n.sheet.AppendRoom(next.bytes, left, n.whole, maxRoom)
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

// roomPayload is what is published at once: rooms, of which it holds the traces and the readers.
type roomPayload struct {
	bytes  []byte
	users  []string
	events []*trace.SpanContext
}

// handRooms publishes a payload, unless it is empty. The bus keeps nothing of it.
func (a *Announcer) handRooms(p *roomPayload) {
	if len(p.users) > 0 {
		if err := a.wire.publishRoom(p.users, p.bytes, traces(p.events)); err != nil {
			a.failed(len(p.users), err)
		}
	}
	clear(p.users)
	p.bytes, p.users, p.events = p.bytes[:0], p.users[:0], p.events[:0]
}

// publishEach publishes events by user and in the order of their positions. It makes those of one payload at a time.
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

// sampled is the trace of events that carry their message.
func (n *announcement) sampled() *trace.SpanContext {
	if !n.whole {
		return nil
	}
	return n.trace
}

// payload is what is published at once: the events of a user, of which it holds the traces.
type payload struct {
	user   string
	bytes  []byte
	events []*trace.SpanContext
}

// hand publishes the first so many bytes of a payload, unless it is empty. They are those of all its events; the rest stays.
// The bus keeps nothing of it.
func (a *Announcer) hand(p *payload, bytes int) {
	if len(p.events) > 0 {
		if err := a.wire.publish(p.user, p.bytes[:bytes], traces(p.events)); err != nil {
			a.failed(len(p.events), err)
		}
	}
	p.bytes, p.events = append(p.bytes[:0], p.bytes[bytes:]...), p.events[:0]
}

// traces are those of the events, or nil if none is sampled.
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
