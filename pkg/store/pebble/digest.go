package pebble

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

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
