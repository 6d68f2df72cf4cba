package inbox

import (
	"context"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

// hole makes the entry that says that a position is empty for good.
func (c *Config) hole(user string, position int64) store.Entry {
	now := c.Now().UTC().Truncate(time.Millisecond)
	return store.Entry{
		User: user, Position: position, Kind: store.Hole, Message: store.NewMessageID(now),
		At: now, ExpiresAt: now, PurgeAt: now.Add(c.Retention + c.PurgeMargin),
	}
}

// write writes holes and returns how many positions were free. An entry that is already there stays.
func (c *Config) write(ctx context.Context, holes []store.Entry) (written int, err error) {
	done, err := c.Store.InsertEntries(ctx, holes)
	for _, ok := range done {
		if ok {
			written++
		}
	}
	return written, err
}

// close writes holes into positions that a send has taken and does not need. If that fails, a reader does it once they are old.
func (c *Config) close(ctx context.Context, unused []store.Entry) {
	if len(unused) == 0 {
		return
	}
	if written, err := c.write(ctx, unused); err == nil {
		c.Metrics.positionsClosed.Add(float64(written))
	}
}

// writeHoles writes holes into the missing positions, and returns how many of those were free. The highest remaining entry shows where the
// inbox ended: so no hole may outlive the entry above it, and where there is none any more, the topmost hole is there before the others.
// The store may write only a part of them, and there may be more than are written at a time.
func (r *Reader) writeHoles(ctx context.Context, user string, u *undecided) (written int, err error) {
	above := u.neighbor.PurgeAt
	if above.IsZero() {
		top := r.cfg.hole(user, u.neighbor.Position-1)
		if written, err = r.cfg.write(ctx, []store.Entry{top}); err != nil {
			return written, err
		}
		above = top.PurgeAt
	}
	holes := make([]store.Entry, 0, len(u.holes))
	for _, p := range u.holes {
		hole := r.cfg.hole(user, p)
		if above.Before(hole.PurgeAt) {
			hole.PurgeAt = above
		}
		holes = append(holes, hole)
	}
	more, err := r.cfg.write(ctx, holes)
	return written + more, err
}
