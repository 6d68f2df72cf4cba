package pebble

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// Digest returns a hash of everything in the store except session cursors. It reads the whole store.
func (s *Store) Digest(ctx context.Context) (string, error) {
	sum := sha256.New()
	err := s.read(ctx, "digest", func() error {
		return s.walk(ctx, span{}, func(key, value []byte) (more bool, err error) {
			switch key[0] {
			case tableFurthest, tableSessions, tableSessionExpiry:
				return true, nil
			}
			for _, part := range [][]byte{key, value} {
				_, _ = sum.Write(binary.AppendUvarint(nil, uint64(len(part)))) // hash.Hash never fails
				_, _ = sum.Write(part)
			}
			return true, nil
		})
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}
