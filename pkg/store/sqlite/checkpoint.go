package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	driver "modernc.org/sqlite"
)

const (
	// checkpointPages is after how many pages written to the log (WAL) it is copied into the file: 64 MiB.
	checkpointPages = 16_000
	// fewPages are so few that writers may wait while they are copied.
	fewPages = 500
	// checkpointPasses is how often what was written meanwhile is copied beside the writers, before the rest is in their stead.
	checkpointPasses = 3
)

// checkpoints copy the log into the file. SQLite itself does that in the stead of a writer (wal_autocheckpoint), and all others wait
// for the disk meanwhile. Here another connection does it beside them: a passive checkpoint waits for nobody, and nobody for it.
// Only the few pages that were written meanwhile are copied in a writer's turn, because the log begins anew only from a moment at
// which all of it has been copied.
type checkpoints struct {
	s    *Store
	db   *sql.DB
	due  chan struct{}
	done sync.WaitGroup
	// written is how many pages went to the log since all of it was copied, and next at how many a checkpoint is due, if none is
	// under way. The writer's turn guards them.
	written, next int
	underWay      bool
}

// start begins; the store must be ready for writes.
func (c *checkpoints) start(s *Store, path string) (err error) {
	c.s, c.due, c.next = s, make(chan struct{}, 1), checkpointPages
	if c.db, err = openPool(path, "", 1, checkpointCache); err != nil {
		return err
	}
	c.done.Go(c.run)
	return nil
}

// close waits for the checkpoint under way.
func (c *checkpoints) close() error {
	if c.db == nil {
		return nil
	}
	c.done.Wait()
	return c.db.Close()
}

// count takes in what a turn of the writer has written.
func (c *checkpoints) count() {
	c.written += c.s.pagesWritten()
	if c.written >= c.next && !c.underWay {
		c.underWay = true
		c.due <- struct{}{}
	}
}

// pagesWritten are those that the writer wrote since this was last asked.
func (s *Store) pagesWritten() (pages int) {
	_ = s.writer.Raw(func(conn any) (err error) {
		pages, _, err = conn.(driver.DBStatus).Status(driver.DBStatusCacheWrite, true)
		return err
	})
	return pages
}

func (c *checkpoints) run() {
	ctx := context.Background()
	for {
		select {
		case <-c.s.closed:
			return
		case <-c.due:
			// The observer tells of a failure. The log grows meanwhile, and the next write that is due tries again.
			_ = c.s.observed(ctx, "checkpoint", func() error { return c.checkpoint(ctx) })
		}
	}
}

func (c *checkpoints) checkpoint(ctx context.Context) error {
	for range checkpointPasses {
		left, err := passive(ctx, c.db)
		if err != nil || left < fewPages {
			break
		}
	}
	err := c.s.inTurn(ctx, func() error {
		left, err := passive(ctx, c.db)
		if err == nil && left == 0 {
			c.written = 0
		}
		c.underWay = false
		c.next = c.written + checkpointPages // later, too, if the file is at fault or a reader still needs the log
		return err
	})
	if errors.Is(err, sql.ErrConnDone) {
		return nil // the store is being closed, which copies all
	}
	return err
}

// passive copies what it can without waiting for anybody, and returns how many pages are left; one, if another process is at it and
// that is not known.
func passive(ctx context.Context, db *sql.DB) (left int, err error) {
	var busy, log, copied int
	err = db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &log, &copied)
	if err == nil && busy != 0 {
		return max(1, log-copied), nil
	}
	return log - copied, unavailable(err)
}
