package natsbus_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/bus"
)

// follower records its calls.
type follower struct {
	mu      sync.Mutex
	changed []string
	missed  int
}

func (f *follower) KeyChanged(user string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed = append(f.changed, user)
}

func (f *follower) KeysMissed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.missed++
}

func (f *follower) knows(user string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.changed, user)
}

func (f *follower) misses() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.missed
}

func TestEveryFollowerIsToldOfAKeyThatWasReplaced(t *testing.T) {
	url := address(t)
	followers := [2]follower{}
	for i := range followers {
		require.NoError(t, connect(t, url, nil).FollowKeys(&followers[i]))
	}
	publisher, bob := connect(t, url, nil), user(t, "bob")
	for i := range followers {
		// Repeated until it arrives: the server may process the subscription after the publication.
		require.Eventually(t, func() bool {
			require.NoError(t, publisher.PublishKeyChange(bob))
			return followers[i].knows(bob)
		}, patience, time.Millisecond)
	}
}

func TestAFollowerIsToldThatItMayHaveMissedSomething(t *testing.T) {
	s := startServer(t, 0)
	b, f := connect(t, s.ClientURL(), nil), follower{}
	require.NoError(t, b.FollowKeys(&f))
	before := f.misses()
	stopServer(s)
	require.Eventually(t, func() bool { return f.misses() > before }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return !b.Connected() }, patience, time.Millisecond)
	require.ErrorIs(t, b.PublishKeyChange("bob"), bus.ErrDisconnected)
}
