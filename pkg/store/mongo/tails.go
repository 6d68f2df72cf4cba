package mongo

import (
	"context"
	"slices"
	"time"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/store"
)

const (
	// maxUnion bounds the queries of one command. The engine of the tests takes 0.4 ms per query up to 32 of them, 2 ms with 64, 18 ms with
	// 128: planning grows faster than their number.
	maxUnion = 32
	// queriesAtOnce bounds the concurrent queries of one call.
	queriesAtOnce = 16
	// fewTails is the most inboxes for which a call determines up to where retention has removed everything: that takes a query each.
	fewTails = 16
	// longPast is the age of a mark below whose block nothing is under way any more.
	longPast = 24 * time.Hour
	// nearEnd covers the clock skew. So near its end an entry may already be removed; and for so long after a mark was written, no entry of
	// its block can have been removed.
	nearEnd = 10 * time.Minute
)

// Tails implements store.Log. The highest mark names the block of the tail. If that block has no entries, either all were removed, and the
// tail is the block's end, or the writer of the mark has not written its entry yet (see mark.tail). The reads are not stale.
func (s *Store) Tails(ctx context.Context, users []string) (map[string]store.Tail, error) {
	marks, err := s.marks.highest(ctx, users)
	if err != nil {
		return nil, err
	}
	group, ctx := errgroup.WithContext(ctx)
	var last []lastEntry
	group.Go(func() (err error) {
		last, err = s.readLast(ctx, marks)
		return err
	})
	removed := s.readRemoved(ctx, group, marks)
	if err := group.Wait(); err != nil {
		return nil, err
	}
	tails := make(map[string]store.Tail, len(users))
	for _, user := range users {
		tails[user] = store.Tail{}
	}
	for user, m := range marks {
		tails[user] = store.Tail{Position: m.tail(s.marks.now())}
	}
	now := time.Now()
	for _, l := range last {
		tails[l.User] = store.Tail{Position: l.tail(now)}
	}
	for user, upTo := range removed {
		tails[user] = store.Tail{Position: tails[user].Position, Removed: *upTo}
	}
	return tails, nil
}

// lastEntry is the entry at the highest position of an inbox.
type lastEntry struct {
	User     string    `bson:"u"`
	Position int64     `bson:"s"`
	At       time.Time `bson:"at"`
	PurgeAt  time.Time `bson:"purgeAt"`
}

// tail is the position of the last entry, if no entry above it can have been removed by now. The server removes what is due in any order,
// and writers' clocks differ: near its own end an entry says nothing of what was above it, and the tail is the block's end. An entry is
// young while more than ten minutes of its time are left, and more than half of it or more than a day.
func (l lastEntry) tail(now time.Time) int64 {
	left, gone := l.PurgeAt.Sub(now), now.Sub(l.At)
	if left > nearEnd && (left > gone || left > 24*time.Hour) {
		return l.Position
	}
	return blockOf(l.Position).end()
}

// readLast returns the last entries above the start of the marked blocks. They are in those blocks. It also finds an entry above whose mark
// is missing because a server died.
func (s *Store) readLast(ctx context.Context, marks map[string]mark) ([]lastEntry, error) {
	queries := make([]query, 0, len(marks))
	for user, m := range marks {
		queries = append(queries, queryLast(user, m.before))
	}
	return unions[lastEntry](ctx, s.inboxLast, queries)
}

// unions returns the results of queries, several per command, with several commands at once.
func unions[T any](ctx context.Context, c *driver.Collection, queries []query) ([]T, error) {
	chunks := slices.Collect(slices.Chunk(queries, maxUnion))
	found := make([][]T, len(chunks))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(queriesAtOnce)
	for i, queries := range chunks {
		group.Go(func() error {
			cursor, err := c.Aggregate(ctx, union(c.Name(), queries))
			if err == nil {
				err = cursor.All(ctx, &found[i])
			}
			return unavailable(err)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(found...), nil
}

// readRemoved has group determine up to where everything is removed, for inboxes with an old mark.
func (s *Store) readRemoved(ctx context.Context, group *errgroup.Group, marks map[string]mark) map[string]*int64 {
	removed := map[string]*int64{}
	if len(marks) > fewTails {
		return removed
	}
	for user, m := range marks {
		if m.before == 0 || time.Since(m.at) < longPast {
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
