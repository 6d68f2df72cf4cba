package messaging_test

import (
	"context"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/services/messages/internal/messaging"
)

// slowDirectory answers when it is told to, and keeps what it was asked.
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

func TestSendsAtOnceShareTheirLookUpsAndEachGetsItsOwn(t *testing.T) {
	d := &slowDirectory{asked: make(chan []string), goOn: make(chan error)}
	s := messaging.Share(d, 100)
	defer s.Stop()
	var asking sync.WaitGroup
	ask := func(want int, names ...string) {
		asking.Go(func() {
			known, err := s.LookUp(context.Background(), names, nil)
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

// TestOnlyNamesAreRemembered: a key's version is asked for each time, and so is somebody who did not exist.
func TestOnlyNamesAreRemembered(t *testing.T) {
	d := &slowDirectory{asked: make(chan []string, 1), goOn: make(chan error, 1)}
	s := messaging.Share(d, 100)
	defer s.Stop()
	lookUp := func(withKeys, others []string) (known map[string]store.UserKey, asked []string) {
		d.goOn <- nil
		known, err := s.LookUp(t.Context(), withKeys, others)
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
