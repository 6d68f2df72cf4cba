package inbox

import (
	"context"
	"iter"

	"github.com/sealpost/sealpost/pkg/store"
)

// entryState says what a reader makes of an entry.
type entryState int

const (
	// delivered: the entry's message is committed and is for the reader.
	delivered entryState = iota
	// empty: there is nothing at this position and never will be again.
	empty
	// prepared: the entry's message is not there yet, and may never be.
	prepared
)

type resolved struct {
	Item
	state entryState
}

// walk pairs entries with their messages, in order, fetching messages a chunk at a time so that what is held stays
// near contentBudget whatever their sizes. Positions that are the reader's own sends count as empty.
func (r *Reader) walk(ctx context.Context, entries []store.Entry) iter.Seq2[resolved, error] {
	return r.walkKinds(ctx, entries, func(k store.EntryKind) bool { return k == store.Received })
}

// walkKinds is walk for the kinds of entries that wanted names.
func (r *Reader) walkKinds(ctx context.Context, entries []store.Entry, wanted func(store.EntryKind) bool) iter.Seq2[resolved, error] {
	return func(yield func(resolved, error) bool) {
		chunk := firstChunk
		for len(entries) > 0 {
			part := entries[:min(chunk, len(entries))]
			entries = entries[len(part):]
			bytes, ok := r.walkChunk(ctx, part, wanted, yield)
			if !ok {
				return
			}
			chunk = nextChunk(len(part), bytes)
		}
	}
}

// nextChunk guesses from the last chunk how many messages fill the budget.
func nextChunk(messages, bytes int) int {
	if bytes == 0 {
		return 4 * messages
	}
	return max(1, min(4*messages, messages*contentBudget/bytes))
}

func (r *Reader) walkChunk(ctx context.Context, entries []store.Entry, wanted func(store.EntryKind) bool, yield func(resolved, error) bool) (bytes int, ok bool) {
	now := r.cfg.Now()
	shown := func(e store.Entry) bool { return wanted(e.Kind) && e.ExpiresAt.After(now) }
	var ids []store.MessageID
	for _, e := range entries {
		if shown(e) {
			ids = append(ids, e.Message)
		}
	}
	var messages map[store.MessageID]store.Message
	if len(ids) > 0 {
		var err error
		if messages, err = r.cfg.Store.Messages(ctx, ids); err != nil {
			return 0, yield(resolved{}, err) && false
		}
	}
	for _, e := range entries {
		item := resolved{Item: Item{Entry: e}, state: empty}
		if shown(e) {
			item = judge(e, messages)
		}
		bytes += len(item.Message.Content)
		if !yield(item, nil) {
			return bytes, false
		}
	}
	return bytes, true
}

// judge pairs an entry with its message. An entry counts only with a message of the same digest: another digest means
// that another send with the same client message id was committed in its place.
func judge(e store.Entry, messages map[store.MessageID]store.Message) resolved {
	m, there := messages[e.Message]
	switch {
	case !there:
		return resolved{Item: Item{Entry: e}, state: prepared}
	case m.Tombstone, m.Digest != e.Digest:
		return resolved{Item: Item{Entry: e}, state: empty}
	}
	return resolved{Item: Item{Entry: e, Message: m}, state: delivered}
}
