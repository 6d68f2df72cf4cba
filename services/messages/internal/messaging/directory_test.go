package messaging_test

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/messages/internal/messaging"
)

// slowDirectory answers when the test lets it, and records its queries.
type slowDirectory struct {
	asked chan []string
	goOn  chan error
}

func (d *slowDirectory) KeyVersions(_ context.Context, names []string) (map[string]store.UserKey, error) {
	slices.Sort(names)
	d.asked <- names
	known := map[string]store.UserKey{}
	for _, name := range names {
		if name != "nobody" {
			known[name] = store.UserKey{Username: "Mr " + name}
		}
	}
	return known, <-d.goOn
}

func wanted(withKeys, others []string) (list []messaging.Wanted) {
	for _, name := range withKeys {
		list = append(list, messaging.Wanted{Name: name, Key: true})
	}
	for _, name := range others {
		list = append(list, messaging.Wanted{Name: name})
	}
	return list
}

func TestSendsAtOnceShareTheirLookUpsAndEachGetsItsOwn(t *testing.T) {
	d := &slowDirectory{asked: make(chan []string), goOn: make(chan error)}
	s := messaging.NewSharedDirectory(messaging.DirectoryConfig{Keys: d, Queue: 100})
	defer s.Stop()
	var asking sync.WaitGroup
	ask := func(want int, names ...string) {
		asking.Go(func() {
			known, err := s.LookUp(context.Background(), wanted(names, nil))
			if want < 0 {
				require.ErrorIs(t, err, store.ErrUnavailable) //nolint:testifylint // nothing follows
				return
			}
			require.NoError(t, err) //nolint:testifylint // nothing follows
			require.Len(t, known, want)
			for name, user := range known {
				require.Contains(t, names, name)
				require.Equal(t, "Mr "+name, user.Username)
			}
		})
	}
	ask(1, "ann", "nobody")
	require.Equal(t, []string{"ann", "nobody"}, <-d.asked)
	for range 10 {
		ask(2, "ann", "ben")
	}
	d.goOn <- nil
	answered := make(chan struct{})
	go func() {
		asking.Wait()
		close(answered)
	}()
	for open := true; open; { // one query, or a few if some came late: each names a user once
		select {
		case names := <-d.asked:
			require.Equal(t, []string{"ann", "ben"}, names)
			d.goOn <- nil
		case <-answered:
			open = false
		}
	}
	ask(-1, "cid")
	<-d.asked
	d.goOn <- store.ErrUnavailable
	asking.Wait()
}

// TestOnlyNamesAreRememberedByWhoIsToldOfNoRotations: without notifications, key versions and unregistered names are queried every
// time.
func TestOnlyNamesAreRememberedByWhoIsToldOfNoRotations(t *testing.T) {
	d := &slowDirectory{asked: make(chan []string, 1), goOn: make(chan error, 1)}
	s := messaging.NewSharedDirectory(messaging.DirectoryConfig{Keys: d, Queue: 100})
	defer s.Stop()
	lookUp := func(withKeys, others []string) (known map[string]store.UserKey, asked []string) {
		d.goOn <- nil
		known, err := s.LookUp(t.Context(), wanted(withKeys, others))
		require.NoError(t, err)
		return known, <-d.asked
	}
	_, asked := lookUp([]string{"ann"}, []string{"ben", "nobody"})
	require.Equal(t, []string{"ann", "ben", "nobody"}, asked)
	known, asked := lookUp([]string{"ann"}, []string{"ben", "nobody"})
	require.Equal(t, []string{"ann", "nobody"}, asked)
	require.Equal(t, map[string]store.UserKey{"ann": {Username: "Mr ann"}, "ben": {Username: "Mr ben"}}, known)
	_, asked = lookUp([]string{"ben"}, []string{"ann"})
	require.Equal(t, []string{"ben"}, asked)
}

// registry is a directory whose versions a test sets.
type registry struct {
	mu       sync.Mutex
	versions map[string]int
	asked    int
	// reading, if set, is called after the versions were read and before they are returned.
	reading func()
}

func (r *registry) KeyVersions(_ context.Context, names []string) (map[string]store.UserKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked += len(names)
	known := map[string]store.UserKey{}
	for _, name := range names {
		if v := r.versions[name]; v != 0 {
			known[name] = store.UserKey{Username: name, Key: store.Key{Version: v}}
		}
	}
	if r.reading != nil {
		r.reading()
	}
	return known, nil
}

// senders is a SharedDirectory that is told of rotations, and its dependencies.
type senders struct {
	*messaging.SharedDirectory
	t        *testing.T
	registry registry
	now      time.Time
	deaf     bool
}

func newSenders(t *testing.T) *senders {
	s := &senders{t: t, registry: registry{versions: map[string]int{"ann": 1, "ben": 1}}, now: time.Unix(1e9, 0)}
	s.SharedDirectory = messaging.NewSharedDirectory(messaging.DirectoryConfig{
		Keys: &s.registry, Queue: 100, Trusting: func() bool { return !s.deaf }, Now: func() time.Time { return s.now },
	})
	t.Cleanup(s.Stop)
	return s
}

// version looks one user up and returns its version and how many users were queried.
func (s *senders) version(w messaging.Wanted) (version, asked int) {
	before := s.registry.asked
	known, err := s.LookUp(s.t.Context(), []messaging.Wanted{w})
	require.NoError(s.t, err)
	return known[w.Name].Key.Version, s.registry.asked - before
}

func (s *senders) requireVersion(version, asked int, w messaging.Wanted) {
	s.t.Helper()
	v, a := s.version(w)
	require.Equal(s.t, []int{version, asked}, []int{v, a}, "version, and how many were asked for")
}

func TestAKeyVersionIsReadOnceUntilItChanges(t *testing.T) {
	s := newSenders(t)
	s.requireVersion(1, 1, messaging.Wanted{Name: "ann", Key: true})
	s.requireVersion(1, 0, messaging.Wanted{Name: "ann", Key: true})
	s.requireVersion(1, 0, messaging.Wanted{Name: "ann", Version: 1})
	s.registry.versions["ann"] = 2
	s.KeyChanged("ann")
	s.requireVersion(2, 1, messaging.Wanted{Name: "ann", Version: 1})
	s.requireVersion(2, 0, messaging.Wanted{Name: "ann", Key: true})
}

// TestNobodyIsRefusedForWhatIsRemembered: if the sender's version differs from the cached one, the store is asked, whichever is
// right.
func TestNobodyIsRefusedForWhatIsRemembered(t *testing.T) {
	s := newSenders(t)
	s.requireVersion(1, 1, messaging.Wanted{Name: "ann", Key: true})
	s.registry.versions["ann"] = 2
	s.requireVersion(2, 1, messaging.Wanted{Name: "ann", Version: 2})
	s.requireVersion(2, 1, messaging.Wanted{Name: "ann", Version: 1})
}

func TestLostNewsOfARotationCostsNoMoreThanTheTrust(t *testing.T) {
	s := newSenders(t)
	s.requireVersion(1, 1, messaging.Wanted{Name: "ann", Version: 1})
	s.registry.versions["ann"] = 2
	s.now = s.now.Add(messaging.KeyTrust - 1)
	s.requireVersion(1, 0, messaging.Wanted{Name: "ann", Version: 1})
	s.now = s.now.Add(1)
	s.requireVersion(2, 1, messaging.Wanted{Name: "ann", Version: 1})
}

func TestWhoMayHaveMissedRotationsForgetsAllVersions(t *testing.T) {
	s := newSenders(t)
	s.requireVersion(1, 1, messaging.Wanted{Name: "ann", Key: true})
	s.requireVersion(1, 1, messaging.Wanted{Name: "ben", Key: true})
	s.ForgetKeys()
	s.requireVersion(1, 1, messaging.Wanted{Name: "ann", Key: true})
	s.requireVersion(1, 1, messaging.Wanted{Name: "ben", Key: true})
	s.requireVersion(1, 0, messaging.Wanted{Name: "ann"})
}

func TestWhoWouldNotHearOfARotationReliesOnNothing(t *testing.T) {
	s := newSenders(t)
	s.requireVersion(1, 1, messaging.Wanted{Name: "ann", Key: true})
	s.deaf = true
	s.requireVersion(1, 1, messaging.Wanted{Name: "ann", Key: true})
	s.requireVersion(1, 1, messaging.Wanted{Name: "ben", Key: true})
	s.deaf = false
	s.requireVersion(1, 1, messaging.Wanted{Name: "ben", Key: true})
}

// TestAVersionThatWasReadBeforeARotationIsNotRememberedAfterIt: the notification overtakes the query's answer.
func TestAVersionThatWasReadBeforeARotationIsNotRememberedAfterIt(t *testing.T) {
	s := newSenders(t)
	s.registry.reading = func() {
		s.registry.versions["ann"] = 2
		s.KeyChanged("ann")
	}
	s.requireVersion(1, 1, messaging.Wanted{Name: "ann", Version: 1})
	s.registry.reading = nil
	s.requireVersion(2, 1, messaging.Wanted{Name: "ann", Version: 1})
}

func TestThatSomebodyIsUnknownIsNotRemembered(t *testing.T) {
	s := newSenders(t)
	s.requireVersion(0, 1, messaging.Wanted{Name: "cid", Version: 1})
	s.registry.versions["cid"] = 1
	s.requireVersion(1, 1, messaging.Wanted{Name: "cid", Version: 1})
}
