package mongo

import (
	"context"
	"time"
)

// PurgeAt purges as of a future time, and ages marks accordingly.
func (s *Store) PurgeAt(ctx context.Context, now time.Time) error {
	if by := time.Until(now); by > 0 {
		s.age(by)
	}
	_, err := s.Purge(ctx, now)
	return err
}

// age makes all present and future marks look older.
func (s *Store) age(by time.Duration) {
	s.marks.now = func() time.Time { return time.Now().Add(by) }
}
