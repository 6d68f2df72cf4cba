package inbox

import (
	"context"
	"time"

	"github.com/sealpost/sealpost/pkg/store"
)

const (
	// headWindow is how many positions below the tail Head reads first. It doubles with each step.
	headWindow = 32
	// underWay is the age, by the writer's clock, of an entry below which no send can be under way. It exceeds a send's timeout, the
	// longest time a process can stall without losing its connections, and the clock skew.
	underWay = 10 * time.Minute
)

// Head returns the position up to which everything is decided. Sends acknowledged from now on have higher positions. The tail would be
// wrong: sends still under way may be below it. decided is a position up to which everything is known to be decided, or 0: what is not known
// has to be read back to entries as old as underWay.
func (r *Reader) Head(ctx context.Context, user string, decided int64) (int64, error) {
	r.cfg.Metrics.storeReads.WithLabelValues("poll").Inc()
	tail, err := r.tail(ctx, user)
	if err != nil {
		return 0, err
	}
	head, floor := tail.Position, max(tail.Removed, tail.Position-maxGap, decided)
	window := int64(headWindow)
	for top := tail.Position; top > floor; window *= 2 {
		bottom := max(floor, top-window)
		entries, err := r.cfg.Store.Entries(ctx, user, bottom, top)
		if err != nil {
			return 0, err
		}
		upTo, err := r.decidedUpTo(ctx, entries, bottom)
		if err != nil {
			return 0, err
		}
		if upTo < top {
			head = upTo
		}
		if len(entries) > 0 && r.cfg.Now().Sub(entries[0].At) >= underWay {
			break
		}
		top = bottom
	}
	return head, nil
}

// decidedUpTo returns the position before the first one above bottom that is missing or whose message is undecided.
func (r *Reader) decidedUpTo(ctx context.Context, entries []store.Entry, bottom int64) (int64, error) {
	now := r.cfg.Now()
	keptUntil, err := r.cfg.Store.Decided(ctx, claims(entries, now))
	if err != nil {
		return 0, err
	}
	if err := r.keepPassed(ctx, entries, keptUntil); err != nil {
		return 0, err
	}
	at := bottom
	for _, e := range entries {
		if _, decided := keptUntil[e.Message]; e.Position != at+1 || (claimed(e, now) && !decided) {
			break
		}
		at = e.Position
	}
	return at, nil
}

// keepPassed makes the messages and tombstones that decide against entries outlive those entries, as a walk does.
func (r *Reader) keepPassed(ctx context.Context, entries []store.Entry, keptUntil map[store.MessageID]time.Time) error {
	c := chunk{}
	for _, e := range entries {
		if until, decided := keptUntil[e.Message]; decided && until.Before(e.ExpiresAt) {
			c.shown = append(c.shown, e)
		}
	}
	if len(c.shown) == 0 {
		return nil
	}
	var err error
	if c.messages, err = r.cfg.Store.MessagesOf(ctx, c.shown); err != nil {
		return err
	}
	if err := r.keep(ctx, &c); err != nil {
		return err
	}
	for _, e := range c.shown {
		if _, there := c.messages[e.Message]; !there {
			delete(keptUntil, e.Message)
		}
	}
	return nil
}
