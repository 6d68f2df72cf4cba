package messaging

import (
	"context"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sealpost/sealpost/pkg/batch"
	"github.com/sealpost/sealpost/pkg/store"
)

// maxNames bounds the users that are looked up by one query.
const maxNames = 4096

// knownNames is how many users are remembered to exist. One takes some 150 bytes.
const knownNames = 1 << 16

// SharedDirectory looks users up in queries that concurrent sends share. Most of them are about the same few users, and
// each is asked for once a query. Of what is found only the name is remembered, which never changes: a key that was
// replaced is known to be from the next send on, and somebody who registers exists from then on.
type SharedDirectory struct {
	directory Keys
	names     *batch.Batcher[string, found]
	// known holds registered names by canonical name.
	known *lru.Cache[string, string]
}

// found is what is known of a name.
type found struct {
	user  store.UserKey
	there bool
}

// Share makes a SharedDirectory with room for queue waiting sends. Stop it when done.
func Share(d Keys, queue int) *SharedDirectory {
	known, err := lru.New[string, string](knownNames)
	if err != nil {
		panic(err) // only a size below 1 is an error
	}
	s := &SharedDirectory{directory: d, known: known}
	s.names = batch.New(batch.Config{Queue: queue, Items: maxNames, Bytes: maxNames}, func(string) int { return 1 }, s.lookUp)
	return s
}

// Stop waits for the query under way.
func (s *SharedDirectory) Stop() { s.names.Stop() }

// LookUp implements Directory. batch.ErrFull means that too many sends are waiting.
func (s *SharedDirectory) LookUp(ctx context.Context, withKeys, others []string) (map[string]store.UserKey, error) {
	known := make(map[string]store.UserKey, len(withKeys)+len(others))
	ask := withKeys
	for _, name := range others {
		if username, there := s.known.Get(name); there {
			known[name] = store.UserKey{Username: username}
		} else {
			ask = append(ask, name)
		}
	}
	list, err := s.names.Do(ctx, ask)
	if err != nil {
		return nil, err
	}
	for i, f := range list {
		if f.there {
			known[ask[i]] = f.user
			s.known.Add(ask[i], f.user.Username)
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
