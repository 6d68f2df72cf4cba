package messaging

import (
	"cmp"
	"context"
	"log/slog"
	"slices"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/batch"
	"github.com/sealpost/sealpost/pkg/bus"
	"github.com/sealpost/sealpost/pkg/delivery"
	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/tracing"
)

const (
	// maxPayload is the most bytes of events that are put together into one payload. A receiver that keeps one event keeps
	// its whole payload in memory.
	maxPayload = 64 << 10
	// maxAnnounced and maxAnnouncedBytes bound what is put together at a time.
	maxAnnounced      = 8192
	maxAnnouncedBytes = 16 << 20
)

// Announcer tells the holders of polls what has been committed. Sends that end together, as they do behind a group commit,
// share what is published: one payload for each recipient, however many messages there are. What the bus loses, readers
// find in the store.
type Announcer struct {
	bus     bus.Publisher
	log     *slog.Logger
	metrics *Metrics
	batches *batch.Batcher[announcement, struct{}]
}

// announcement is an event for one user.
type announcement struct {
	user  string
	event delivery.Event
}

// NewAnnouncer makes an Announcer for up to queue sends that wait, and starts it. Stop it when done.
func NewAnnouncer(b bus.Publisher, queue int, log *slog.Logger, m *Metrics) *Announcer {
	a := &Announcer{bus: b, log: log, metrics: m}
	size := func(n announcement) int { return n.event.Size() }
	a.batches = batch.New(batch.Config{Queue: queue, Items: maxAnnounced, Bytes: maxAnnouncedBytes}, size, a.publish)
	return a
}

// Stop ends the Announcer.
func (a *Announcer) Stop() { a.batches.Stop() }

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
	sheet, err := delivery.NewSheet(receipt.Message)
	if err != nil {
		a.failed(len(receipt.Entries), err)
		return
	}
	list, sampled := make([]announcement, 0, len(receipt.Entries)), tracing.Sampled(ctx)
	for _, entry := range receipt.Entries {
		event, err := sheet.For(entry)
		if err != nil {
			a.failed(1, err)
			continue
		}
		event.Trace = sampled
		list = append(list, announcement{entry.User, event})
	}
	if _, err := a.batches.Do(context.Background(), list); err != nil {
		_, _ = a.publish(context.Background(), list) // too many wait, or it is being stopped: then alone
	}
}

// publish hands what has come together to the bus, by user and in the order of their positions.
func (a *Announcer) publish(_ context.Context, list []announcement) ([]struct{}, error) {
	results := make([]struct{}, len(list))
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b announcement) int {
		return cmp.Or(cmp.Compare(a.user, b.user), cmp.Compare(a.event.Position, b.event.Position))
	})
	for len(list) > 0 {
		n, size := 1, list[0].event.Size()
		for n < len(list) && list[n].user == list[0].user && size+list[n].event.Size() <= maxPayload {
			size += list[n].event.Size()
			n++
		}
		payload := make([]byte, 0, size)
		for _, next := range list[:n] {
			payload = next.event.AppendTo(payload)
		}
		if err := a.bus.Publish(list[0].user, payload, traces(list[:n])); err != nil {
			a.failed(n, err)
		}
		list = list[n:]
	}
	return results, nil
}

// traces are those of the events, or nil if none is sampled.
func traces(list []announcement) []string {
	if !slices.ContainsFunc(list, func(n announcement) bool { return n.event.Trace != nil }) {
		return nil
	}
	all := make([]string, len(list))
	for i, n := range list {
		all[i] = tracing.Traceparent(n.event.Trace)
	}
	return all
}

func (a *Announcer) failed(events int, err error) {
	a.metrics.unpublished.Add(float64(events))
	a.log.Debug("events not published", "events", events, "error", err.Error())
}
