package mongo

import (
	"context"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/store"
)

const (
	// maxUsers bounds the inboxes that one query for marks names: what a server takes for each grows with their number. maxTails bounds
	// those of one query for their last entries, which has a branch for each.
	maxUsers = 128
	maxTails = 64
	// queriesAtOnce bounds how many queries one call makes at once.
	queriesAtOnce = 16
	// fewTails is for how many inboxes at most a call finds out up to where retention has removed everything: that takes a query each.
	fewTails = 16
	// longPast is the age of a mark for whose lower blocks nothing is under way any more.
	longPast = 24 * time.Hour
)

// Tails implements store.Log. The highest mark says in which block of positions a tail is. If nothing is there, the tail is the
// block's end: all has been removed, or whoever marked the block has not written its entry yet, or never will. The reads are not stale.
func (s *Store) Tails(ctx context.Context, users []string) (map[string]store.Tail, error) {
	marks, err := s.marks.highest(ctx, users)
	if err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(queriesAtOnce)
	last := s.readLast(ctx, group, marks)
	removed := s.readRemoved(ctx, group, marks)
	if err := group.Wait(); err != nil {
		return nil, err
	}
	tails := make(map[string]store.Tail, len(users))
	for _, user := range users {
		tails[user] = store.Tail{}
	}
	for user, m := range marks {
		tails[user] = store.Tail{Position: m.end}
	}
	for _, list := range last {
		for _, l := range list {
			tails[l.User] = store.Tail{Position: l.tail()}
		}
	}
	for user, upTo := range removed {
		tails[user] = store.Tail{Position: tails[user].Position, Removed: *upTo}
	}
	return tails, nil
}

// lastEntry is the highest position of an inbox that holds an entry, and the highest of those that are young.
type lastEntry struct {
	User     string `bson:"_id"`
	Position int64  `bson:"s"`
	Young    int64  `bson:"young"`
}

// tail is the position of the last entry, if nothing that stood above can have been removed by now. The server removes what is due in
// any order, and writers' clocks are apart: near its own end an entry says nothing of what stood above it, and the tail is the
// block's end. An entry is young while more than ten minutes of its time are left, and more than half of it or than a day.
func (l lastEntry) tail() int64 {
	if l.Young == l.Position {
		return l.Position
	}
	return blockOf(l.Position).end()
}

// readLast has group find the last entries above the beginnings of the marked blocks. They are in those blocks; an entry above, whose
// mark a server that died may have left out, is found, too.
func (s *Store) readLast(ctx context.Context, group *errgroup.Group, marks map[string]mark) [][]lastEntry {
	chunks := slices.Collect(slices.Chunk(slices.Sorted(maps.Keys(marks)), maxTails))
	last := make([][]lastEntry, len(chunks))
	for i, users := range chunks {
		group.Go(func() error {
			cursor, err := s.inboxLast.Aggregate(ctx, lastAbove(users, marks, time.Now()))
			if err == nil {
				err = cursor.All(ctx, &last[i])
			}
			return unavailable(err)
		})
	}
	return last
}

// readRemoved has group find out up to where nothing stands any more of what is long past.
func (s *Store) readRemoved(ctx context.Context, group *errgroup.Group, marks map[string]mark) map[string]*int64 {
	removed := map[string]*int64{}
	if len(marks) > fewTails {
		return removed
	}
	for user, m := range marks {
		if m.before == 0 || m.at.IsZero() || time.Since(m.at) < longPast {
			continue
		}
		upTo := new(int64)
		removed[user] = upTo
		group.Go(func() error {
			first, err := s.FirstAfter(ctx, user, 0)
			*upTo = m.before
			if first > 0 {
				*upTo = min(m.before, first-1)
			}
			return err
		})
	}
	return removed
}
