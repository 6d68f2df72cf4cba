package inbox

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/trace"

	"github.com/sealpost/sealpost/pkg/batch"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/tracing"
)

// atOnce writes sends in one step, where the store can: positions, entries and message in one batch, with one wait. If anything prevents
// that, the send goes on in two steps, with the positions that it has taken.
type atOnce struct {
	store     store.Committer
	positions *positions
	metrics   *Metrics
	sends     *batch.Batcher[store.Send, outcome]
}

// outcome is the result of a send in its batch.
type outcome struct {
	// entries carry the positions that the send has taken; 0 where the counter is not known.
	entries []store.Entry
	// tried means that the send was passed to the store, which answered result.
	tried  bool
	result store.SendResult
}

// newAtOnce returns nil if the store is no Committer.
func newAtOnce(cfg Config, p *positions) *atOnce {
	committer, ok := cfg.Store.(store.Committer)
	if !ok {
		return nil
	}
	a := &atOnce{store: committer, positions: p, metrics: cfg.Metrics}
	bounds := batch.Config{Queue: cfg.QueueLength, Items: maxBatchDocuments, Bytes: maxBatchBytes, Waited: cfg.Metrics.waited("sends")}
	size := func(s store.Send) int {
		bytes := messageSize(s.Message)
		for _, e := range s.Entries {
			bytes += entrySize(e)
		}
		return max(bytes, len(s.Entries)*maxBatchBytes/maxBatchDocuments) // entries count as documents, too
	}
	a.sends = batch.New(bounds, size, a.commit)
	return a
}

func (a *atOnce) stop() {
	if a != nil {
		a.sends.Stop()
	}
}

// commit writes one batch. It may modify the sends.
func (a *atOnce) commit(ctx context.Context, sends []store.Send) ([]outcome, error) {
	if err := a.take(ctx, sends); err != nil {
		return nil, err
	}
	outcomes := make([]outcome, len(sends))
	ready, at := make([]store.Send, 0, len(sends)), make([]int, 0, len(sends))
	documents := 0
	for i, s := range sends {
		outcomes[i].entries = s.Entries
		if positioned(s.Entries) {
			s.Message.Positions = positionsOf(s.Entries)
			ready, at = append(ready, s), append(at, i)
			documents += 1 + len(s.Entries)
		}
	}
	if len(ready) == 0 {
		return outcomes, nil
	}
	a.metrics.sendsBatch.Observe(float64(documents))
	results, err := a.store.Commit(ctx, ready)
	if err != nil {
		return nil, err
	}
	for i, r := range results {
		outcomes[at[i]].tried, outcomes[at[i]].result = true, r
	}
	return outcomes, nil
}

// take takes positions for the entries without one, where the counters are known. If the sequencer fails, they stay without.
func (a *atOnce) take(ctx context.Context, sends []store.Send) error {
	var wants []Want
	var missing []*store.Entry
	for i := range sends {
		for k := range sends[i].Entries {
			if e := &sends[i].Entries[k]; e.Position == 0 {
				wants, missing = append(wants, Want{User: e.User}), append(missing, e)
			}
		}
	}
	if len(wants) == 0 || a.positions.away() {
		return nil
	}
	taken, err := a.positions.ask(ctx, wants)
	if errors.Is(err, errSequencerAway) {
		return nil
	}
	for i := range taken {
		missing[i].Position = taken[i]
	}
	return err
}

// positioned reports whether all entries have positions.
func positioned(entries []store.Entry) bool {
	for i := range entries {
		if entries[i].Position == 0 {
			return false
		}
	}
	return true
}

// commitAtOnce writes a send in one step. done means that its outcome is known. Otherwise the send goes on in two steps, with the positions
// that its entries have.
func (w *Writer) commitAtOnce(ctx context.Context, m store.Message, entries []store.Entry) (_ Receipt, done bool, err error) {
	ctx, span := tracing.Start(ctx, "inbox commit", trace.SpanKindInternal)
	defer func() { tracing.End(span, err) }()
	if w.cfg.Failpoint != nil { // a batch has no point between the two steps
		if err = w.takeMissing(ctx, entries); err == nil {
			err = w.failpoint(ctx, StepPositions)
		}
		if err != nil {
			receipt, err := w.failed(ctx, m, false, err)
			return receipt, true, err
		}
	}
	for range 2 { // the second time with positions for the inboxes whose counters were not known
		outcomes, err := w.atOnce.sends.Do(ctx, []store.Send{{Message: m, Entries: append([]store.Entry(nil), entries...)}})
		if err != nil {
			receipt, err := w.failed(ctx, m, !errors.Is(err, ErrOverloaded), err) // it may have been written, or may still be
			return receipt, true, err
		}
		o := outcomes[0]
		copy(entries, o.entries)
		switch {
		case o.result.Written:
			if err := w.failpoint(ctx, StepCommit); err != nil {
				return Receipt{}, true, err
			}
			m.Positions = positionsOf(entries)
			return Receipt{Message: m, Entries: entries}, true, nil
		case o.result.Decided:
			w.closeFree(ctx, o)
			receipt, err := w.collided(ctx, m)
			return receipt, true, err
		case o.tried:
			return Receipt{}, false, nil
		}
		if err := w.takeMissing(ctx, entries); err != nil {
			receipt, err := w.failed(ctx, m, false, err)
			return receipt, true, err
		}
		if !positioned(entries) {
			return Receipt{}, false, nil
		}
	}
	return Receipt{}, false, nil
}

// takeMissing takes positions for the entries without one. While the sequencer is away they stay without.
func (w *Writer) takeMissing(ctx context.Context, entries []store.Entry) error {
	var users []string
	var missing []*store.Entry
	for i := range entries {
		if e := &entries[i]; e.Position == 0 {
			users, missing = append(users, e.User), append(missing, e)
		}
	}
	if len(users) == 0 {
		return nil
	}
	taken, err := w.positions.next(ctx, users, false)
	for i := range taken {
		missing[i].Position = taken[i]
	}
	return err
}

// closeFree writes holes into the positions that a send has taken and does not need.
func (w *Writer) closeFree(ctx context.Context, o outcome) {
	unused := make([]store.Entry, 0, len(o.entries))
	for i, e := range o.entries {
		if o.result.Taken == nil || !o.result.Taken[i] {
			unused = append(unused, w.cfg.hole(e.User, e.Position))
		}
	}
	w.cfg.close(ctx, unused)
}
