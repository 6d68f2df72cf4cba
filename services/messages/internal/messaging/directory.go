package messaging

import (
	"context"
	"sync"
	"time"

	"github.com/sealpost/sealpost/pkg/batch"
	"github.com/sealpost/sealpost/pkg/lru"
	"github.com/sealpost/sealpost/pkg/store"
)

// maxNames bounds the users in one query.
const maxNames = 4096

// knownNames is how many users are cached. One takes about 200 bytes.
const knownNames = 1 << 16

// KeyTrust bounds how long a key version that was read is trusted: the news of a rotation may be lost.
const KeyTrust = 10 * time.Second

// SharedDirectory looks users up in queries that concurrent sends share: most sends are about the same few users, and a query names
// each once. It caches names, which never change, and key versions, until it hears of a rotation or that it may have missed one,
// and for at most KeyTrust. It does not cache that a name is unregistered.
type SharedDirectory struct {
	directory Keys
	names     *batch.Batcher[string, found]
	trusting  func() bool
	now       func() time.Time

	// mu keeps a version that was read before a rotation from being cached after it.
	mu sync.Mutex
	// changes counts the notifications.
	changes uint64
	// known holds registered users by canonical name.
	known *lru.Cache[string, knownUser]
}

// knownUser is a cached user.
type knownUser struct {
	username string
	// version was read at readAt, by this process's clock. It is 0 if unknown.
	version int
	readAt  time.Time
}

// found is the result of a lookup.
type found struct {
	user  store.UserKey
	there bool
	// changes and readAt were taken before the query.
	changes uint64
	readAt  time.Time
}

// DirectoryConfig holds the dependencies of a SharedDirectory.
type DirectoryConfig struct {
	Keys Keys
	// Queue is how many sends may wait.
	Queue int
	// Trusting reports whether the SharedDirectory would currently be told of rotations; nil if never.
	Trusting func() bool
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// NewSharedDirectory makes a SharedDirectory. Call Stop when done.
func NewSharedDirectory(c DirectoryConfig) *SharedDirectory {
	s := &SharedDirectory{directory: c.Keys, known: lru.New[string, knownUser](knownNames), trusting: c.Trusting, now: c.Now}
	if s.trusting == nil {
		s.trusting = func() bool { return false }
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.names = batch.New(batch.Config{Queue: c.Queue, Items: maxNames, Bytes: maxNames}, func(string) int { return 1 }, s.lookUp)
	return s
}

// Stop waits for the query under way.
func (s *SharedDirectory) Stop() { s.names.Stop() }

// KeyChanged drops the cached key version of a user, given by the canonical name, whose key was replaced.
func (s *SharedDirectory) KeyChanged(user string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	if u, ok := s.known.Peek(user); ok {
		s.known.Add(user, knownUser{username: u.username})
	}
}

// ForgetKeys drops all cached key versions: rotations may have been missed.
func (s *SharedDirectory) ForgetKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changes++
	for _, user := range s.known.Keys() {
		if u, ok := s.known.Peek(user); ok && u.version != 0 {
			s.known.Add(user, knownUser{username: u.username})
		}
	}
}

// LookUp implements Directory. batch.ErrFull means that too many sends are waiting.
func (s *SharedDirectory) LookUp(ctx context.Context, wanted []Wanted) (map[string]store.UserKey, error) {
	known := make(map[string]store.UserKey, len(wanted))
	trusting, now := s.trusting(), s.now()
	var ask []string
	for _, w := range wanted {
		u, there := s.known.Get(w.Name)
		trusted := trusting && u.version != 0 && now.Sub(u.readAt) < KeyTrust
		switch {
		case !there, w.Key && !trusted, w.Version != 0 && (!trusted || u.version != w.Version):
			ask = append(ask, w.Name)
		default:
			known[w.Name] = store.UserKey{Username: u.username, Key: store.Key{Version: u.version}}
		}
	}
	if len(ask) == 0 {
		return known, nil
	}
	list, err := s.names.Do(ctx, ask)
	if err != nil {
		return nil, err
	}
	for i, f := range list {
		if f.there {
			known[ask[i]] = f.user
			s.remember(ask[i], f)
		}
	}
	return known, nil
}

// remember caches a result. It caches the version only if no notification has arrived since before the query: it may have been
// about this user.
func (s *SharedDirectory) remember(name string, f found) {
	u := knownUser{username: f.user.Username}
	trusting := s.trusting()
	s.mu.Lock()
	defer s.mu.Unlock()
	if trusting && f.changes == s.changes {
		u.version, u.readAt = f.user.Key.Version, f.readAt
	}
	s.known.Add(name, u)
}

func (s *SharedDirectory) lookUp(ctx context.Context, names []string) ([]found, error) {
	s.mu.Lock()
	changes := s.changes
	s.mu.Unlock()
	readAt := s.now()
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
		list[i].changes, list[i].readAt = changes, readAt
	}
	return list, nil
}
