package inbox

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

// entryState is how a reader classifies an entry.
type entryState int

const (
	// delivered: the entry's message is committed and is shown to the reader.
	delivered entryState = iota
	// empty: this position is empty for good.
	empty
	// prepared: the entry's message is not there yet, and may never be.
	prepared
)

type resolved struct {
	Item
	state entryState
}

// walk pairs entries with their messages, in order. It fetches up to most messages at a time, and no more content than contentBudget. The
// reader's own sends count as empty once they are decided.
func (r *Reader) walk(ctx context.Context, entries []store.Entry, most int) iter.Seq2[resolved, error] {
	return r.walkKinds(ctx, entries, most, func(k store.EntryKind) bool { return k == store.Received })
}

// walkKinds is walk for the kinds of entries that wanted accepts.
func (r *Reader) walkKinds(ctx context.Context, entries []store.Entry, most int, wanted func(store.EntryKind) bool) iter.Seq2[resolved, error] {
	return func(yield func(resolved, error) bool) {
		for len(entries) > 0 {
			c := r.cut(entries, most, wanted)
			entries = entries[len(c.entries):]
			if err := r.fetch(ctx, &c); err != nil {
				yield(resolved{}, err)
				return
			}
			for _, e := range c.entries {
				if !yield(c.judge(e), nil) {
					return
				}
			}
		}
	}
}

// chunk is a run of entries whose messages are fetched together.
type chunk struct {
	entries []store.Entry
	// shown are the entries whose messages are fetched. claims are messages that only need to be known as decided or not.
	shown    []store.Entry
	claims   []store.MessageID
	messages map[store.MessageID]store.Message
	decided  map[store.MessageID]time.Time

	now    time.Time
	wanted func(store.EntryKind) bool
}

func (c *chunk) shows(e store.Entry) bool { return c.wanted(e.Kind) && e.ExpiresAt.After(c.now) }

func (c *chunk) hasClaim(e store.Entry) bool {
	return e.Kind == store.Sent && !c.wanted(e.Kind) && e.ExpiresAt.After(c.now)
}

// cut takes a chunk off the front: as many entries as may be fetched together, at least one. Entries carry their message's size, so nothing
// needs to be fetched for this.
func (r *Reader) cut(entries []store.Entry, most int, wanted func(store.EntryKind) bool) chunk {
	c := chunk{now: r.cfg.Now(), wanted: wanted, shown: make([]store.Entry, 0, min(most, len(entries)))}
	bytes := 0
	for i, e := range entries {
		switch {
		case c.shows(e):
			if bytes += size(e); len(c.shown) == most || (len(c.shown) > 0 && bytes > contentBudget) {
				c.entries = entries[:i]
				return c
			}
			c.shown = append(c.shown, e)
		case c.hasClaim(e):
			c.claims = append(c.claims, e.Message)
		}
	}
	c.entries = entries
	return c
}

// size is what an entry's message counts against contentBudget.
func size(e store.Entry) int {
	if e.Size == 0 {
		return unknownSize
	}
	return e.Size
}

func (r *Reader) fetch(ctx context.Context, c *chunk) (err error) {
	if len(c.shown) > 0 {
		if c.messages, err = r.cfg.Store.MessagesOf(ctx, c.shown); err != nil {
			return err
		}
	}
	if err := r.keep(ctx, c); err != nil {
		return err
	}
	if len(c.claims) > 0 {
		c.decided, err = r.cfg.Store.Decided(ctx, c.claims)
	}
	return err
}

// keep makes what decides against an entry outlive it: a tombstone, or a message of another attempt that names another place. If that went
// first, the entry's writer, which may only have been slow, could still commit its message at a position that readers have passed. Entries
// of the user's own sends do not matter: they are not delivered.
func (r *Reader) keep(ctx context.Context, c *chunk) error {
	for _, e := range c.shown {
		m, there := c.messages[e.Message]
		if !there || (!m.Tombstone && m.Names(&e)) {
			continue
		}
		kept, err := r.cfg.keep(ctx, m, e.ExpiresAt)
		if errors.Is(err, store.ErrNotFound) { // it was just removed: the entry is undecided again
			delete(c.messages, e.Message)
			continue
		}
		if err != nil {
			return err
		}
		c.messages[e.Message] = kept // so that many entries of one message cost one write
	}
	return nil
}

// judge classifies an entry. A user's own send is passed only when it is decided: before that, a store may still lose the entry and the
// position may be used again.
func (c *chunk) judge(e store.Entry) resolved {
	switch {
	case c.shows(e):
		return judge(e, c.messages)
	case c.hasClaim(e):
		if _, decided := c.decided[e.Message]; !decided {
			return resolved{Item: Item{Entry: e}, state: prepared}
		}
	}
	return resolved{Item: Item{Entry: e}, state: empty}
}

// judge pairs an entry with its message. An entry counts only if its message names its place. Otherwise another attempt of the same send,
// or another send under the same client message id, was committed.
func judge(e store.Entry, messages map[store.MessageID]store.Message) resolved {
	m, there := messages[e.Message]
	switch {
	case !there:
		return resolved{Item: Item{Entry: e}, state: prepared}
	case m.Tombstone, m.Erased, !m.Names(&e):
		return resolved{Item: Item{Entry: e}, state: empty}
	}
	return resolved{Item: Item{Entry: e, Message: m}, state: delivered}
}
