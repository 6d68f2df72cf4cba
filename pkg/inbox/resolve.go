package inbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

// errTombstoned: a reader or an earlier attempt has aborted this id; the next id is tried.
var errTombstoned = errors.New("message id holds a tombstone")

// failed decides the outcome of a send that failed with cause between its first write and its commit: it tries to put a tombstone in the
// message's place. So the sender gets the true result and no reader has to wait.
func (w *Writer) failed(ctx context.Context, m store.Message, touched bool, cause error) (Receipt, error) {
	var injected *failpointError
	switch {
	case errors.As(cause, &injected):
		return Receipt{}, cause
	case !touched:
		return Receipt{}, notCommitted(cause)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTimeout)
	defer cancel()
	receipt, err := w.abort(ctx, m)
	if errors.Is(err, errTombstoned) {
		return Receipt{}, notCommitted(cause)
	}
	return receipt, err
}

// Committed finds the message that an earlier send of d with its client message id has committed. It sends nothing. The receipt has no
// entries. ErrIdempotencyMismatch means that the earlier send had other content.
func (w *Writer) Committed(ctx context.Context, d Draft) (r Receipt, found bool, err error) {
	if d.ClientMessageID == "" {
		return Receipt{}, false, nil
	}
	d.Recipients = sortRecipients(d.Recipients)
	sum := digest(d)
	for attempt := range maxAttempts {
		id := clientMessageID(d.Sender, d.ClientMessageID, attempt)
		messages, err := w.cfg.Store.Messages(ctx, []store.MessageID{id})
		if err != nil {
			return Receipt{}, false, err
		}
		m, there := messages[id]
		switch {
		case !there:
			return Receipt{}, false, nil
		case m.Tombstone:
			continue
		case m.Digest != sum:
			return Receipt{}, false, ErrIdempotencyMismatch
		}
		return Receipt{Message: m, Duplicate: true}, true, nil
	}
	return Receipt{}, false, nil
}

func notCommitted(cause error) error {
	if errors.Is(cause, ErrOverloaded) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrNotCommitted, cause)
}

// abort aborts the message with a tombstone, so that it can never be committed (errTombstoned), or finds that it is committed.
func (w *Writer) abort(ctx context.Context, m store.Message) (Receipt, error) {
	written, err := w.cfg.Store.InsertMessages(ctx, []store.Message{w.cfg.tombstone(m.ID)})
	if err != nil {
		return Receipt{}, notCommitted(err)
	}
	if written[0] {
		w.cfg.Metrics.sendsAborted.Inc()
		return Receipt{}, errTombstoned
	}
	return w.resolve(ctx, m)
}

// collided resolves a send whose id was in use when it had taken its positions.
func (w *Writer) collided(ctx context.Context, m store.Message) (Receipt, error) {
	receipt, err := w.resolve(ctx, m)
	if receipt.Duplicate || errors.Is(err, ErrIdempotencyMismatch) {
		w.repeats.wasted(m.Sender)
	}
	return receipt, err
}

// standing looks up what stands at the id of a send that has taken nothing yet. If it is not found, the send goes on: it may still collide.
// An error counts as found, because it ends the attempt.
func (w *Writer) standing(ctx context.Context, m store.Message) (r Receipt, found bool, err error) {
	standing, found, err := w.at(ctx, m.ID)
	switch {
	case err != nil:
		return Receipt{}, true, err
	case !found:
		return Receipt{}, false, nil
	case !standing.Tombstone:
		w.repeats.found(m.Sender)
	}
	r, err = w.answer(ctx, standing, m)
	return r, true, err
}

// resolve handles a message whose id was in use at the commit: by this same send, by a tombstone, or by other content under the same client
// message id.
func (w *Writer) resolve(ctx context.Context, m store.Message) (Receipt, error) {
	standing, found, err := w.at(ctx, m.ID)
	switch {
	case err != nil:
		return Receipt{}, err
	case !found:
		return Receipt{}, fmt.Errorf("%w: the message that stood at its id has expired", ErrNotCommitted)
	}
	return w.answer(ctx, standing, m)
}

// at reads the message or tombstone at an id.
func (w *Writer) at(ctx context.Context, id store.MessageID) (m store.Message, found bool, err error) {
	messages, err := w.cfg.Store.Messages(ctx, []store.MessageID{id})
	if err != nil {
		return m, false, notCommitted(err)
	}
	m, found = messages[id]
	return m, found, nil
}

// answer answers the send m with what stands at its id. The stored message names its own entries, which may differ from those of this attempt.
func (w *Writer) answer(ctx context.Context, standing, m store.Message) (receipt Receipt, err error) {
	switch {
	case standing.Tombstone:
		return Receipt{}, w.passTombstone(ctx, standing, m)
	case standing.Digest != m.Digest:
		return Receipt{}, ErrIdempotencyMismatch
	}
	receipt = Receipt{Message: standing, Duplicate: true}
	if standing.Erased || !standing.ExpiresAt.After(w.cfg.Now()) {
		return receipt, nil // there is nothing to notify about any more
	}
	if receipt.Entries, err = w.entriesOf(ctx, standing); err != nil {
		return Receipt{}, notCommitted(err)
	}
	return receipt, nil
}

// entriesOf reads the entries that a message names, in its order. Removed ones are missing.
func (w *Writer) entriesOf(ctx context.Context, m store.Message) ([]store.Entry, error) {
	places := m.Places()
	found, err := w.cfg.Store.EntriesAt(ctx, places)
	if err != nil {
		return nil, err
	}
	at := make(map[store.Place]store.Entry, len(found))
	for _, e := range found {
		at[e.Place()] = e
	}
	entries := make([]store.Entry, 0, len(places))
	for _, place := range places {
		if e, there := at[place]; there && e.Message == m.ID {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// passTombstone returns errTombstoned, so that the send goes on with the next id. First it makes the tombstone outlive the message that
// will be committed: otherwise a repeat would find this id free and commit the message again.
func (w *Writer) passTombstone(ctx context.Context, standing, m store.Message) error {
	_, err := w.cfg.keep(ctx, standing, m.PurgeAt)
	switch {
	case errors.Is(err, store.ErrNotFound): // it was just removed: the next try starts with this id
		return fmt.Errorf("%w: the tombstone that stood at its id has gone", ErrNotCommitted)
	case err != nil:
		return notCommitted(err)
	}
	return errTombstoned
}

// tombstone makes the tombstone of a message id. It is kept longer than readers look at the entries of that id.
func (c Config) tombstone(id store.MessageID) store.Message {
	now := c.Now().UTC().Truncate(time.Millisecond)
	return store.Message{
		ID: id, Tombstone: true, CreatedAt: now, ExpiresAt: now.Add(c.Retention), PurgeAt: now.Add(c.Retention + c.PurgeMargin),
	}
}
