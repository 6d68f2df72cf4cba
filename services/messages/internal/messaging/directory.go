package messaging

import (
	"context"

	"github.com/sealpost/sealpost/pkg/batch"
	"github.com/sealpost/sealpost/pkg/store"
)

// maxNames bounds the users that are looked up by one query.
const maxNames = 4096

// SharedDirectory looks users up in queries that concurrent sends share. Most of them are about the same few users, and
// each is asked for once a query. Nothing is remembered between queries, so that a key that was replaced is known to be
// from the next send on.
type SharedDirectory struct {
	directory Directory
	names     *batch.Batcher[string, found]
}

// found is what is known of a name.
type found struct {
	user  store.UserKey
	there bool
}

// Share makes a SharedDirectory with room for queue waiting sends. Stop it when done.
func Share(d Directory, queue int) *SharedDirectory {
	s := &SharedDirectory{directory: d}
	s.names = batch.New(batch.Config{Queue: queue, Items: maxNames, Bytes: maxNames}, func(string) int { return 1 }, s.lookUp)
	return s
}

// Stop waits for the query under way.
func (s *SharedDirectory) Stop() { s.names.Stop() }

// KeyVersions implements Directory. batch.ErrFull means that too many sends are waiting.
func (s *SharedDirectory) KeyVersions(ctx context.Context, names []string) (map[string]store.UserKey, error) {
	list, err := s.names.Do(ctx, names)
	if err != nil {
		return nil, err
	}
	known := make(map[string]store.UserKey, len(names))
	for i, f := range list {
		if f.there {
			known[names[i]] = f.user
		}
	}
	return known, nil
}

func (s *SharedDirectory) lookUp(ctx context.Context, names []string) ([]found, error) {
	unique := make([]string, 0, len(names))
	seen := make(map[string]struct{}, len(names))
	for _, name := range names {
		if _, twice := seen[name]; !twice {
			seen[name] = struct{}{}
			unique = append(unique, name)
		}
	}
	known, err := s.directory.KeyVersions(ctx, unique)
	if err != nil {
		return nil, err
	}
	list := make([]found, len(names))
	for i, name := range names {
		list[i].user, list[i].there = known[name]
	}
	return list, nil
}
