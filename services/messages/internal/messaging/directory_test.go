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
			known, err := s.KeyVersions(context.Background(), names)
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
