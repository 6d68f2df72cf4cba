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
	// maxPayload is the most bytes of events that are put together into one payload. A receiver that keeps one event keeps
	// its whole payload in memory.
	maxPayload = 64 << 10
	// maxAnnounced bounds how many events are put together at a time.
	maxAnnounced = 8192
	// maxWhole is up to how many bytes the events of one send carry the message. Those of a larger one, to many recipients, tell
	// where it stands, and its readers find it in the store: the bus must not be flooded by a single send.
	maxWhole = 16 << 20
)

// Announcer tells the holders of polls what has been committed. Sends that end together, as they do behind a group commit,
// share what is published: one payload for each recipient, however many messages there are. What the bus loses, readers
// find in the store; where it may have lost something, they are told of that by hints.
type Announcer struct {
	wire    *confirmer
	log     *slog.Logger
	metrics *Metrics
	batches *batch.Batcher[announcement, struct{}]
	// payloads are buffers.
	payloads sync.Pool
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

// announcement is an event for one user, before it is made: those of a send to a thousand recipients together are too large.
type announcement struct {
	user  string
	entry store.Entry
	sheet *delivery.Sheet
	trace *trace.SpanContext
	// whole: the event carries the message.
	whole bool
}

// appendTo adds the event to a payload.
func (n *announcement) appendTo(b []byte) []byte {
	if !n.whole {
		return n.sheet.Reference(n.entry).AppendTo(b)
	}
	return n.sheet.AppendFor(b, n.entry)
}

// NewAnnouncer makes an Announcer, and starts it. Stop it when done.
func NewAnnouncer(c AnnouncerConfig) *Announcer {
	a := &Announcer{wire: newConfirmer(c.Bus, c.Hints, c.Log, c.Metrics), log: c.Log, metrics: c.Metrics}
	size := func(announcement) int { return 1 }
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
	list, sampled := make([]announcement, len(receipt.Entries)), tracing.Sampled(ctx)
	whole := sheet.Size()*len(receipt.Entries) <= maxWhole
	for i, entry := range receipt.Entries {
		list[i] = announcement{user: entry.User, entry: entry, sheet: sheet, trace: sampled, whole: whole}
	}
	if _, err := a.batches.Do(context.Background(), list); err != nil {
		_, _ = a.publish(context.Background(), list) // too many wait, or it is being stopped: then alone
	}
}

// publish hands what has come together to the bus, by user and in the order of their positions. It makes the events of one payload
// at a time.
func (a *Announcer) publish(_ context.Context, list []announcement) ([]struct{}, error) {
	order := make([]*announcement, len(list)) // an announcement is large
	for i := range list {
		order[i] = &list[i]
	}
	slices.SortFunc(order, func(a, b *announcement) int {
		return cmp.Or(cmp.Compare(a.user, b.user), cmp.Compare(a.entry.Position, b.entry.Position))
	})
	next, _ := a.payloads.Get().(*payload)
	if next == nil {
		next = new(payload)
	}
	for _, n := range order {
		if next.user != n.user {
			a.hand(next, len(next.bytes))
			next.user = n.user
		}
		before := len(next.bytes)
		if next.bytes = n.appendTo(next.bytes); len(next.bytes) > maxPayload && before > 0 {
			a.hand(next, before)
		}
		next.events = append(next.events, whole(n))
	}
	a.hand(next, len(next.bytes))
	if cap(next.bytes) <= 2*maxPayload {
		a.payloads.Put(next)
	}
	return make([]struct{}, len(list)), nil
}

// whole is the trace of an event that carries its message.
func whole(n *announcement) *trace.SpanContext {
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
