package pebble

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	engine "github.com/cockroachdb/pebble/v2"

	"github.com/sealpost/sealpost/pkg/store"
)

// Backup makes folder, which must not be there yet, and puts a copy of the store into it, as it is at one moment: all that was
// acknowledged before. The store goes on meanwhile. Where folder is on the same file system the copy shares the store's files, which
// are never changed, and takes next to no time and room.
func (s *Store) Backup(ctx context.Context, folder string) error {
	return s.read(ctx, "backup", func() error {
		if err := s.db.Checkpoint(folder, engine.WithFlushedWAL()); err != nil {
			return fmt.Errorf("%w: backup: %w", store.ErrUnavailable, err)
		}
		return nil
	})
}

// Digest is a hash of all that the store holds, but for the cursors of sessions. It reads the whole store.
func (s *Store) Digest(ctx context.Context) (string, error) {
	sum := sha256.New()
	err := s.read(ctx, "digest", func() error {
		return s.walk(ctx, span{}, func(key, value []byte) (more bool, err error) {
			switch key[0] {
			case tableFurthest, tableSessions, tableSessionExpiry:
				return true, nil
			}
			for _, part := range [][]byte{key, value} {
				_, _ = sum.Write(binary.AppendUvarint(nil, uint64(len(part)))) // a hash takes everything
				_, _ = sum.Write(part)
			}
			return true, nil
		})
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}
