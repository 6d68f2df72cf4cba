package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/batch"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/tracing"
)

const (
	// maxAttempts bounds how many ids one client message id goes through; each but the last was aborted.
	maxAttempts = 32
	// maxRounds bounds how often one send takes new positions. A round fails only because another writer made progress.
	maxRounds = 64
	// settleTimeout bounds finding out or deciding the outcome of a send that failed.
	settleTimeout = 2 * time.Second

	maxBatchDocuments = 4096
	maxBatchBytes     = 16 << 20
	// broadcast is how many entries make a send large. Large sends do not share bulk inserts with small ones, which would have to wait for
	// them.
	broadcast = 128
	// maxBroadcastDocuments is a send to as many recipients as there may be, and its sender's own entry: a bulk insert of more would keep the
	// store from small sends for longer.
	maxBroadcastDocuments = 1025
)

// Writer appends to inboxes. Its methods may be called concurrently. Call Stop when done.
type Writer struct {
	cfg       Config
	positions *positions
	// entries inserts the entries of small sends, broadcasts those of large ones.
	entries, broadcasts *batch.Batcher[store.Entry, bool]
	messages            *batch.Batcher[store.Message, bool]
	// atOnce is nil if the store cannot write a send in one step.
	atOnce  *atOnce
	repeats *repeats
	// underWay counts the sends in progress.
	underWay atomic.Int64
}

// NewWriter makes a Writer and starts its group commits.
func NewWriter(cfg Config) *Writer {
	cfg = cfg.withDefaults()
	w := &Writer{cfg: cfg, positions: newPositions(cfg), repeats: newRepeats()}
	bounds := func(kind string) batch.Config {
		return batch.Config{Queue: cfg.QueueLength, Items: maxBatchDocuments, Bytes: maxBatchBytes, Waited: cfg.Metrics.waited(kind)}
	}
	w.positions.tails.insert = w.insertEntries
	w.entries = batch.New(bounds("entries"), entrySize, w.insertEntries)
	large := bounds("entries")
	large.Items = maxBroadcastDocuments
	w.broadcasts = batch.New(large, entrySize, w.insertEntries)
	w.messages = batch.New(bounds("messages"), messageSize, w.insertMessages)
	w.atOnce = newAtOnce(cfg, w.positions)
	return w
}

// entrySize and messageSize are the sizes that count against the byte limit of a batch.
func entrySize(e store.Entry) int     { return len(e.WrappedKey) + len(e.User) + 128 }
func messageSize(m store.Message) int { return len(m.Content) + 32*len(m.Recipients) + 256 }

// Stop waits for the bulk writes under way. Sends not answered by then fail with ErrNotCommitted.
func (w *Writer) Stop() {
	w.atOnce.stop()
	w.positions.stop()
	w.entries.Stop()
	w.broadcasts.Stop()
	w.messages.Stop()
}

// Append sends d. If it returns no error, the message is durable in the inbox of every recipient. With ErrNotCommitted it is in none, or
// will turn out to be in all: a retry with the same client message id is safe.
//
// A send does not stop half way if the caller's context ends, only after WriteTimeout. With QueueLength sends under way, Append returns
// ErrOverloaded before it takes any position: a position taken and not used makes readers wait.
func (w *Writer) Append(ctx context.Context, d Draft) (Receipt, error) {
	defer w.underWay.Add(-1)
	if w.underWay.Add(1) > int64(w.cfg.QueueLength) {
		return Receipt{}, ErrOverloaded
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.WriteTimeout)
	defer cancel()
	ctx = batch.For(ctx, d.Sender)
	d.Recipients = sortRecipients(d.Recipients)
	if d.ClientMessageID == "" {
		return w.send(ctx, d, false)
	}
	id := clientMessageID(d.Sender, d.ClientMessageID, 0)
	likely, mine := w.repeats.begin(ctx, d.Sender, id)
	if mine {
		defer w.repeats.end(id)
	}
	return w.send(ctx, d, likely)
}

// send tries one message id after the other. If likely, the send is likely to be a repeat, and is looked up before it takes positions.
func (w *Writer) send(ctx context.Context, d Draft, likely bool) (Receipt, error) {
	sum := digest(d)
	for attempt := range maxAttempts {
		message, entries := w.build(d, sum, attempt)
		if likely {
			if receipt, found, err := w.standing(ctx, message); found {
				if errors.Is(err, errTombstoned) {
					continue
				}
				return receipt, err
			}
		}
		receipt, err := w.attempt(ctx, message, entries)
		if !errors.Is(err, errTombstoned) {
			return receipt, err
		}
		likely = true // an attempt was aborted, and a later one may have been committed
	}
	return Receipt{}, fmt.Errorf("%w: %d attempts were aborted", ErrNotCommitted, maxAttempts)
}

func (w *Writer) attempt(ctx context.Context, message store.Message, entries []store.Entry) (Receipt, error) {
	if w.atOnce != nil {
		if receipt, done, err := w.commitAtOnce(ctx, message, entries); done {
			return receipt, err
		}
	}
	if touched, err := w.traced(ctx, entries); err != nil {
		return w.failed(ctx, message, touched, err)
	}
	if err := w.failpoint(ctx, StepEntries); err != nil {
		return Receipt{}, err
	}
	message.Positions = positionsOf(entries)
	committing, span := tracing.Start(ctx, "inbox commit", trace.SpanKindInternal)
	written, err := w.messages.Do(committing, []store.Message{message})
	tracing.End(span, err)
	if err != nil {
		return w.failed(ctx, message, true, err)
	}
	if !written[0] {
		return w.collided(ctx, message)
	}
	if err := w.failpoint(ctx, StepCommit); err != nil {
		return Receipt{}, err
	}
	return Receipt{Message: message, Entries: entries}, nil
}

// positionsOf returns the positions that a message names: those of its recipients in order, then the sender's.
func positionsOf(entries []store.Entry) []int64 {
	positions := make([]int64, len(entries))
	for i := range entries {
		positions[i] = entries[i].Position
	}
	return positions
}

// build makes the message and its entries, without positions: one for each recipient, and one for the sender if it is not a recipient.
func (w *Writer) build(d Draft, sum store.Digest, attempt int) (store.Message, []store.Entry) {
	now := w.cfg.Now().UTC().Truncate(time.Millisecond)
	lifetime := d.Lifetime
	if lifetime <= 0 || lifetime > w.cfg.Retention {
		lifetime = w.cfg.Retention
	}
	m := store.Message{
		Sender: d.Sender, SenderKeyVersion: d.SenderKeyVersion, Content: d.Content, IV: d.IV,
		ClientMessageID: d.ClientMessageID, Digest: sum, CreatedAt: now, ExpiresAt: now.Add(lifetime), PurgeAt: now.Add(w.cfg.Retention),
	}
	if d.ClientMessageID != "" {
		m.ID = clientMessageID(d.Sender, d.ClientMessageID, attempt)
	} else {
		m.ID = store.NewMessageID(now)
	}
	entry := store.Entry{
		Kind: store.Received, Message: m.ID, Size: len(d.Content), At: now, ExpiresAt: m.ExpiresAt,
		PurgeAt: now.Add(w.cfg.Retention + w.cfg.PurgeMargin),
	}
	entries := make([]store.Entry, 0, len(d.Recipients)+1)
	m.Recipients = make([]string, 0, len(d.Recipients))
	toSelf, sender := false, store.Canonical(d.Sender)
	for _, r := range d.Recipients {
		e := entry
		e.User, e.WrappedKey, e.KeyVersion = store.Canonical(r.Username), r.WrappedKey, r.KeyVersion
		toSelf = toSelf || e.User == sender
		entries = append(entries, e)
		m.Recipients = append(m.Recipients, r.Username)
	}
	if !toSelf {
		e := entry
		e.User, e.Kind = sender, store.Sent
		entries = append(entries, e)
	}
	return m, entries
}

// traced is prepare with a span.
func (w *Writer) traced(ctx context.Context, entries []store.Entry) (touched bool, err error) {
	ctx, span := tracing.Start(ctx, "inbox prepare", trace.SpanKindInternal)
	defer func() { tracing.End(span, err) }()
	return w.prepare(ctx, entries)
}

// prepare gives each entry a position and inserts it. An entry whose position is taken gets another. Positions already assigned to entries
// are tried first. touched means that something may have been written, with or without an error.
func (w *Writer) prepare(ctx context.Context, entries []store.Entry) (touched bool, err error) {
	pending := make([]*store.Entry, len(entries))
	for i := range entries {
		pending[i] = &entries[i]
	}
	for range maxRounds {
		lagging := touched // entries were refused: the counters lag behind the log
		if lagging {
			w.cfg.Metrics.positionConflicts.Add(float64(len(pending)))
		}
		taken, err := w.take(ctx, pending, lagging)
		if err != nil {
			return touched, err
		}
		if err := w.failpoint(ctx, StepPositions); err != nil {
			return touched, err
		}
		refused, err := w.place(ctx, pending, taken)
		touched = touched || !errors.Is(err, ErrOverloaded)
		if err != nil || len(refused) == 0 {
			return touched, err
		}
		pending = refused
	}
	return touched, fmt.Errorf("no free position in %d rounds", maxRounds)
}

// take returns the positions for entries and clears them in the entries: those already assigned, and new ones for the rest.
func (w *Writer) take(ctx context.Context, entries []*store.Entry, lagging bool) ([]int64, error) {
	positions := make([]int64, len(entries))
	users, at := make([]string, 0, len(entries)), make([]int, 0, len(entries))
	for i, e := range entries {
		if positions[i], e.Position = e.Position, 0; positions[i] == 0 {
			users, at = append(users, e.User), append(at, i)
		}
	}
	if len(users) == 0 {
		return positions, nil
	}
	taken, err := w.positions.next(ctx, users, lagging)
	for i := range taken {
		positions[at[i]] = taken[i]
	}
	return positions, err
}

// place inserts entries at the positions taken and returns those whose position was taken by another. After an error it is unknown which
// were written; they do not count, because no message will name them.
func (w *Writer) place(ctx context.Context, entries []*store.Entry, taken []int64) (refused []*store.Entry, err error) {
	rows := make([]store.Entry, len(entries))
	for i, e := range entries {
		rows[i] = *e
		rows[i].Position = taken[i]
	}
	written, err := w.insert(ctx, rows)
	if err != nil {
		return nil, err
	}
	for i, e := range entries {
		if written[i] {
			e.Position = rows[i].Position
		} else {
			refused = append(refused, e)
		}
	}
	return refused, nil
}

// insert inserts entries at their positions, batched with those of other sends. Entries without a position are placed after the tails of
// their inboxes at the same time, and get their position there.
func (w *Writer) insert(ctx context.Context, rows []store.Entry) (written []bool, err error) {
	var at [2][]int // with and without a position
	for i, row := range rows {
		without := 0
		if row.Position == 0 {
			without = 1
		}
		at[without] = append(at[without], i)
	}
	together := w.entries.Do
	if len(rows) >= broadcast {
		together = w.broadcasts.Do
	}
	by := [2]func(context.Context, []store.Entry) ([]bool, error){together, w.positions.tails.place}
	for i := range by {
		if len(at[1-i]) == 0 {
			return by[i](ctx, rows)
		}
	}
	written = make([]bool, len(rows))
	var both errgroup.Group
	for i := range by {
		both.Go(func() error {
			part := make([]store.Entry, len(at[i]))
			for k, row := range at[i] {
				part[k] = rows[row]
			}
			done, err := by[i](ctx, part)
			for k := range done {
				rows[at[i][k]], written[at[i][k]] = part[k], done[k]
			}
			return err
		})
	}
	return written, both.Wait()
}

// insertEntries is the bulk insert behind the group commit. A sequencer may repeat itself, so two entries of a batch may have the same
// position. Only the first is sent to the store, which does not accept two entries at one place in a call.
func (w *Writer) insertEntries(ctx context.Context, entries []store.Entry) ([]bool, error) {
	seen := make(map[store.Place]struct{}, len(entries))
	var again []int
	for i := range entries {
		before := len(seen)
		if seen[entries[i].Place()] = struct{}{}; len(seen) == before {
			again = append(again, i)
		}
	}
	rows := entries // entries are large, and nearly always all are inserted: no copy
	if len(again) > 0 {
		rows = make([]store.Entry, 0, len(seen))
		for i, left := 0, again; i < len(entries); i++ {
			if len(left) > 0 && left[0] == i {
				left = left[1:]
				continue
			}
			rows = append(rows, entries[i])
		}
	}
	w.cfg.Metrics.entriesBatch.Observe(float64(len(rows)))
	written, err := w.cfg.Store.InsertEntries(ctx, rows)
	if err != nil {
		return nil, err
	}
	for _, i := range again {
		written = slices.Insert(written, i, false)
	}
	return written, nil
}

// insertMessages is the bulk insert behind the group commit: the commit point of every send in it. A batch may contain repeats of one
// client message id; the store judges each on its own.
func (w *Writer) insertMessages(ctx context.Context, messages []store.Message) ([]bool, error) {
	w.cfg.Metrics.messagesBatch.Observe(float64(len(messages)))
	return w.cfg.Store.InsertMessages(ctx, messages)
}

// keep makes the message or tombstone m outlive what was skipped because of it, by at least half of PurgeMargin. Tombstones younger than
// that usually need no write. It returns m as it is kept now.
func (c Config) keep(ctx context.Context, m store.Message, outlives time.Time) (store.Message, error) {
	if m.KeptUntil().Sub(outlives) >= c.PurgeMargin/2 {
		return m, nil
	}
	until := outlives.Add(c.PurgeMargin)
	if err := c.Store.Keep(ctx, m, until); err != nil {
		return m, err
	}
	m.PurgeAt = until
	return m, nil
}

// failpointError marks an injected error: no clean-up follows it.
type failpointError struct{ error }

func (e *failpointError) Unwrap() error { return e.error }

func (w *Writer) failpoint(ctx context.Context, s Step) error {
	if w.cfg.Failpoint == nil {
		return nil
	}
	if err := w.cfg.Failpoint(ctx, s); err != nil {
		return &failpointError{err}
	}
	return nil
}
