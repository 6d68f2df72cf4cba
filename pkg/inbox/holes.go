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
