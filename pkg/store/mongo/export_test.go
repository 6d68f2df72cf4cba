package mongo

import (
	"context"
	"time"
)

// PurgeAt purges as of a moment to come, by when marks have aged.
func (s *Store) PurgeAt(ctx context.Context, now time.Time) error {
	if by := time.Until(now); by > 0 {
		s.age(by)
	}
	_, err := s.Purge(ctx, now)
	return err
}

// age makes all marks that stand look older, and those to come.
func (s *Store) age(by time.Duration) {
	s.marks.now = func() time.Time { return time.Now().Add(by) }
}
