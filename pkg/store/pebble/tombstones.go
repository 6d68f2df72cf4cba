package pebble

import (
	"context"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

// RenewTombstone implements store.Log.
func (s *Store) RenewTombstone(ctx context.Context, id store.MessageID, purgeAt time.Time) error {
	return s.write(ctx, "renew_tombstone", func(t *turn) error {
		var m store.Message
		var flags byte
		key := headerKey(nil, id)
		there, err := s.look(key, func(value []byte) (err error) {
			m, flags, err = decodeHeader(id, value)
			return err
		})
		switch {
		case err != nil:
			return err
		case !there || !m.Tombstone:
			return store.ErrNotFound
		case !m.KeptUntil().Before(purgeAt):
			return nil
		}
		before := messagePurgeKey(nil, millis(m.KeptUntil()), id)
		m.PurgeAt = purgeAt
		if err := t.batch.Delete(before, nil); err != nil {
			return err
		}
		if err := t.batch.Set(key, appendHeader(nil, &m, flags), nil); err != nil {
			return err
		}
		return t.batch.Set(messagePurgeKey(nil, millis(purgeAt), id), nil, nil)
	})
}
