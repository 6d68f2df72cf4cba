package simulation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

// mostOnItsWay is how long a write may still be under way after its caller has given up.
const mostOnItsWay = 6 * time.Second

// prepares is the only operation whose write a store need not sync.
const prepares = "InsertEntries"

// write writes n documents, each separately by apply. It returns nil only if all are applied. Writes of sessions and commits are applied in
// order, the others in any order.
func (h *handle) write(ctx context.Context, operation, key string, n int, apply func(i int)) error { //nolint:gocyclo,funlen // a list of what may go wrong
	unsynced := operation == prepares
	d := h.rng(operation, key)
	of := h.of
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	ordered := strings.HasSuffix(operation, "Session") || operation == "Commit"
	shuffle := func() {
		if !ordered {
			d.shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
		}
	}
	some := func(list []int) {
		h.w.engineMu.Lock()
		defer h.w.engineMu.Unlock()
		if h.e.data != of || h.w.plan.Shape.Standalone && h.isDead() { // nothing is on its way to an embedded store
			return
		}
		for _, i := range list {
			apply(i)
		}
		if !unsynced {
			of.synced = of.last
		}
	}
	if err := h.reach(ctx, d); err != nil {
		if d.hit(0.5) && !strings.Contains(err.Error(), "closed") { // it was under way already
			shuffle()
			part := order[:n-d.below(n+1)/2]
			h.w.later(d.between(0, mostOnItsWay), func() { some(part) })
		}
		return err
	}
	switch {
	case d.hit(h.w.plan.Rates[ratePartial]):
		h.w.count(ratePartial)
		shuffle()
		some(order[:d.below(n+1)])
		_ = h.await(ctx, h.e.latency(d))
		return away(fmt.Errorf("simulation: the connection broke"))
	case d.hit(h.w.plan.Rates[rateLate]):
		h.w.count(rateLate)
		h.w.later(d.between(0, 12*time.Second), func() { some(order) })
		_ = h.await(ctx, h.e.latency(d))
		return away(fmt.Errorf("simulation: the connection broke"))
	}
	if n > 1 && d.hit(h.w.plan.Rates[rateTorn]) {
		h.w.count(rateTorn)
		cut := 1 + d.below(n-1)
		some(order[:cut])
		order = order[cut:]
		if err := h.await(ctx, d.between(0, 5*time.Millisecond)); err != nil {
			if d.hit(0.5) {
				some(order)
			}
			return away(err)
		}
	}
	some(order)
	if d.hit(h.w.plan.Rates[rateLost]) {
		h.w.count(rateLost)
		_ = h.hang(ctx, d.between(0, 10*time.Second))
		return away(fmt.Errorf("simulation: no answer"))
	}
	if err := h.await(ctx, h.e.latency(d)); err != nil {
		return away(err)
	}
	if h.e.data != of {
		return away(fmt.Errorf("simulation: the store was restored"))
	}
	return nil
}

// InsertEntries implements store.Log.
func (h *handle) InsertEntries(ctx context.Context, entries []store.Entry) ([]bool, error) {
	written := make([]bool, len(entries))
	if len(entries) == 0 {
		return written, nil
	}
	e := h.e.data
	operation := prepares
	// What readers may pass at once is synced: tombstones, and entries whose message is already decided.
	if slices.ContainsFunc(entries, func(entry store.Entry) bool { return entry.Kind == store.Hole || h.decided(entry.Message) }) {
		operation = "InsertSynced"
	}
	err := h.write(ctx, operation, entries[0].User, len(entries), func(i int) {
		e.mark(entries[i].User, entries[i].Position, h.w.plan.Shape.BlockSize)
		written[i] = e.insertEntry(entries[i])
		h.w.note("process %d: entry %s/%d kind %d of %s: written %v", h.id, entries[i].User, entries[i].Position, entries[i].Kind, entries[i].Message, written[i])
	})
	if err != nil {
		return nil, err
	}
	return written, nil
}

// InsertMessages implements store.Log.
func (h *handle) InsertMessages(ctx context.Context, messages []store.Message) ([]bool, error) {
	written := make([]bool, len(messages))
	if len(messages) == 0 {
		return written, nil
	}
	e := h.e.data
	purges := h.purges(messages[0].ID)
	if err := h.linger(ctx, messages[0].ID); err != nil {
		return nil, err
	}
	err := h.write(ctx, "InsertMessages", messages[0].ID.String(), len(messages), func(i int) {
		purges(e, messages[i].ID)
		written[i] = e.insertMessage(messages[i])
		h.w.note("process %d: message %s (%s) at %v, tombstone %v: written %v", h.id, messages[i].ID, messages[i].Content, messages[i].Positions, messages[i].Tombstone, written[i])
		if _, there := h.e.committed[messages[i].Content]; written[i] && !messages[i].Tombstone && !there {
			h.e.committed[messages[i].Content] = time.Now()
		}
	})
	if err != nil {
		return nil, err
	}
	return written, nil
}

// linger at random slows a write whose id is due: readers meet its entries meanwhile.
func (h *handle) linger(ctx context.Context, id store.MessageID) error {
	d := h.rng("linger", id.String())
	h.w.engineMu.Lock()
	due := h.e.data.due(id, time.Now())
	h.w.engineMu.Unlock()
	if due == nil || !d.hit(0.7) {
		return nil
	}
	h.w.count("slow-when-due")
	slow := d.between(0, 2*time.Second)
	h.w.illUntil(time.Now().Add(slow))
	if err := h.await(ctx, slow); err != nil {
		return away(err)
	}
	return nil
}

func (h *handle) decided(id store.MessageID) bool {
	h.w.engineMu.Lock()
	defer h.w.engineMu.Unlock()
	_, there := h.e.data.message(id, h.e.data.last)
	return there
}

// embedded is the store of a standalone server, which writes a send in one step.
type embedded struct{ *handle }

// Commit implements store.Committer.
func (h embedded) Commit(ctx context.Context, sends []store.Send) ([]store.SendResult, error) {
	results := make([]store.SendResult, len(sends))
	e := h.e.data
	purges := h.purges(sends[0].Message.ID)
	err := h.write(ctx, "Commit", sends[0].Message.ID.String(), len(sends), func(i int) { // in order
		purges(e, sends[i].Message.ID)
		results[i] = e.commit(sends[i])
		m := sends[i].Message
		h.w.note("process %d: send %s (%s) at once: %+v", h.id, m.ID, m.Content, results[i])
		if _, there := h.e.committed[m.Content]; results[i].Written && !there {
			h.e.committed[m.Content] = time.Now()
		}
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}
