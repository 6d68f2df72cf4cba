package pebble

import (
	"context"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

// Keep implements store.Log.
func (s *Store) Keep(ctx context.Context, m store.Message, until time.Time) error {
	return s.observed(ctx, "keep", func() error {
		enough := false
		err := s.view(ctx, func() error { // loads the row into the cache, so that the turn need not read the disk
			standing, found, err := s.message(ctx, m.ID)
			if err == nil && (!found || !sameMessage(standing, m)) {
				err = store.ErrNotFound
			}
			enough = millis(standing.PurgeAt) >= millis(until)
			return err
		})
		if err != nil || enough {
			return err
		}
		return s.commit(ctx, true, func(t *turn) error { return t.keep(m, until) })
	})
}

// sameMessage reports whether two reads of an id found the same message: after a purge, another may have the id.
func sameMessage(a, b store.Message) bool {
	return a.Tombstone == b.Tombstone && millis(a.CreatedAt) == millis(b.CreatedAt)
}

// keep moves the end of a message that was read to until, if that is later. It changes the header and the header's copy in the content. The
// content is erased no later.
func (t *turn) keep(read store.Message, until time.Time) error {
	id := read.ID
	var m store.Message
	var flags byte
	key := headerKey(nil, id)
	there, err := t.s.look(key, func(value []byte) (err error) {
		m, flags, err = decodeHeader(id, value)
		return broken(tableMessages, err)
	})
	if err == nil && (!there || !sameMessage(m, read)) {
		err = store.ErrNotFound
	}
	if err != nil {
		return err
	}
	kept, end := millis(m.PurgeAt), millis(until)
	if kept >= end {
		t.dependsOn(t.s.syncs.message(id))
		return nil
	}
	t.decides = append(t.decides, id)
	m.PurgeAt = until
	header := appendHeader(nil, &m, flags)
	if err := t.batch.Set(key, header, nil); err != nil {
		return err
	}
	if err := t.batch.Delete(messagePurgeKey(nil, kept, id), nil); err != nil {
		return err
	}
	if err := t.batch.Set(messagePurgeKey(nil, end, id), nil, nil); err != nil || flags&flagContent == 0 {
		return err
	}
	key = contentKey(nil, millis(m.ExpiresAt), id)
	_, err = t.s.look(key, func(value []byte) error {
		content, err := appendReheaded(nil, header, value)
		if err != nil {
			return broken(tableContents, err)
		}
		return t.batch.Set(key, content, nil)
	})
	return err
}
