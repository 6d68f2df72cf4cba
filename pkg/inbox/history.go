package inbox

import (
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

const (
	// historyScan bounds the positions that one page looks at, beyond its own, to be filled. Where so many hold nothing, the page is short.
	historyScan = 8192
	// historyStep is how many of them are read at a time at most.
	historyStep = 1024
	// leastFetch is how many messages are fetched at a time there at least: they may not be shown.
	leastFetch = 64
	// historyWaste bounds the content in bytes of what such positions lead to and that is not shown: another message stands at their id.
	historyWaste = 16 << 20
)

// Window is a range of positions of an inbox: above Above, up to and including Top.
type Window struct {
	User       string
	Above, Top int64
	// Limit is how many messages are shown. Where positions hold nothing, Messages moves Above down until that many are found.
	Limit int64
	// First and Head are the lowest and highest positions in the inbox; both 0 if it is empty.
	First, Head int64
	// numbered: what others below show is shown only if there is nothing else.
	numbered bool
}

// Total estimates how many messages the inbox holds. It counts positions, some of which may be empty.
func (w Window) Total() int64 {
	if w.Head == 0 {
		return 0
	}
	return w.Head - w.First + 1
}

// Whole reports whether the window covers the whole inbox.
func (w Window) Whole() bool { return w.Above < max(w.First, 1) && w.Top >= w.Head }

// Page returns the window of a page of limit positions; page 1 is the newest. Every page costs the same. Where positions hold nothing, a page
// is shorter, so that pages repeat nothing. Only one that would be empty goes on below its window, and shows what a later one begins with: a
// client that reads until a page is empty must not stop there.
func (r *Reader) Page(ctx context.Context, user string, page, limit int64) (Window, error) {
	w, err := r.bounds(ctx, user)
	if err != nil {
		return w, err
	}
	w.Top, w.Limit, w.numbered = max(0, w.Head-(page-1)*limit), limit, true
	w.Above = max(0, w.Top-limit)
	return w, nil
}

// PageBefore returns the window of the limit positions below before. The next page is the one before Above+1, as Messages has left it: such
// pages leave nothing out and repeat nothing.
func (r *Reader) PageBefore(ctx context.Context, user string, before, limit int64) (Window, error) {
	w, err := r.bounds(ctx, user)
	if err != nil {
		return w, err
	}
	w.Top, w.Limit = min(w.Head, before-1), limit
	w.Above = max(0, w.Top-limit)
	return w, nil
}

func (r *Reader) bounds(ctx context.Context, user string) (Window, error) {
	r.cfg.Metrics.storeReads.WithLabelValues("history").Inc()
	w := Window{User: user}
	var err error
	if w.First, err = r.cfg.Store.FirstAfter(ctx, user, 0); err != nil || w.First == 0 {
		return w, err
	}
	tail, err := r.tail(ctx, user)
	w.Head = tail.Position
	return w, err
}

// Messages iterates over the committed messages of a window, newest first: both received and sent ones. While there are fewer than Limit (on
// a page with a number, none), it goes on below the window, for historyScan positions at most, and lowers Above to where it has got.
func (r *Reader) Messages(ctx context.Context, w *Window) iter.Seq2[Item, error] {
	return func(yield func(Item, error) bool) {
		own := w.Above
		lowest := max(w.First-1, own-historyScan)
		shown, wasted, step, fetch := int64(0), 0, max(w.Limit, leastFetch), w.Limit
		for top, above := w.Top, own; top > above && shown < w.Limit; top, above = above, max(lowest, above-step) {
			entries, err := r.cfg.Store.Entries(ctx, w.User, above, top)
			if err != nil {
				yield(Item{}, err)
				return
			}
			slices.Reverse(entries)
			for found, err := range r.walkKinds(ctx, entries, int(fetch), inHistory) {
				switch {
				case err != nil:
					yield(Item{}, err)
					return
				case found.state == delivered:
					if shown++; !yield(found.Item, nil) {
						return
					}
				case found.Entry.Position <= own && inHistory(found.Entry.Kind):
					wasted += found.Entry.Size
				}
				if shown == w.Limit || wasted > historyWaste {
					w.Above = found.Entry.Position - 1
					return
				}
			}
			if w.Above = above; w.numbered && shown > 0 {
				return
			}
			step, fetch = min(2*step, historyStep), max(w.Limit-shown, leastFetch)
		}
	}
}

func inHistory(k store.EntryKind) bool { return k != store.Hole }

// Message returns a message that the user sent or received, or ErrNotFound.
func (r *Reader) Message(ctx context.Context, user string, id store.MessageID) (Item, error) {
	r.cfg.Metrics.storeReads.WithLabelValues("message").Inc()
	messages, err := r.cfg.Store.Messages(ctx, []store.MessageID{id})
	if err != nil {
		return Item{}, err
	}
	m := messages[id]
	position := m.PositionOf(user)
	if position == 0 { // the user is neither sender nor recipient, or the message is gone
		return Item{}, ErrNotFound
	}
	entries, err := r.cfg.Store.EntriesAt(ctx, []store.Place{{User: user, Position: position}})
	if err != nil {
		return Item{}, err
	}
	if len(entries) == 0 || entries[0].Message != id || !entries[0].ExpiresAt.After(r.cfg.Now()) {
		return Item{}, ErrNotFound
	}
	return Item{Entry: entries[0], Message: m}, nil
}

// MarkRead records when the user first read a message. It does nothing for a message that the user only sent.
func (r *Reader) MarkRead(ctx context.Context, user string, id store.MessageID) error {
	item, err := r.Message(ctx, user, id)
	if err != nil || !item.Unread() {
		return err
	}
	err = r.cfg.Store.MarkRead(ctx, item.Entry.Place(), r.cfg.Now().UTC().Truncate(time.Millisecond))
	if errors.Is(err, store.ErrNotFound) {
		return ErrNotFound
	}
	return err
}

// Receipts returns who has read a message, by display name, in the order of its recipients.
func (r *Reader) Receipts(ctx context.Context, m store.Message) ([]store.ReadReceipt, error) {
	receipts, err := r.ReceiptsOf(ctx, []store.Message{m})
	return receipts[m.ID], err
}

// ReceiptsOf is Receipts for many messages, in one store call.
func (r *Reader) ReceiptsOf(ctx context.Context, messages []store.Message) (map[store.MessageID][]store.ReadReceipt, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	var places []store.Place
	for _, m := range messages {
		places = append(places, received(m)...)
	}
	readAt, err := r.cfg.Store.Receipts(ctx, places)
	if err != nil {
		return nil, err
	}
	receipts := make(map[store.MessageID][]store.ReadReceipt, len(messages))
	for _, m := range messages {
		for i, place := range received(m) {
			if at, read := readAt[place]; read {
				receipts[m.ID] = append(receipts[m.ID], store.ReadReceipt{Message: m.ID, User: m.Recipients[i], ReadAt: at})
			}
		}
	}
	return receipts, nil
}

// received returns the places of a message's recipients, in their order.
func received(m store.Message) []store.Place {
	return m.Places()[:min(len(m.Recipients), len(m.Positions))]
}
