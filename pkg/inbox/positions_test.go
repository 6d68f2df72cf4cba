package inbox

import (
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox/memseq"
	"github.com/sealpost/sealpost/pkg/store"
	"github.com/sealpost/sealpost/pkg/store/sqlite"
)

// unsteady is a sequencer that can be away, and keeps its counters.
type unsteady struct {
	*memseq.Sequencer
	away atomic.Bool
}

func (u *unsteady) Next(ctx context.Context, users []string) ([]int64, error) {
	if u.away.Load() {
		return nil, errors.New("away")
	}
	return u.Sequencer.Next(ctx, users)
}

// TestCountersAreVerifiedAgainWhenTheSequencerWasAway: a send that died meanwhile has left a free position below an
// acknowledged one, and the counter, which knows of neither, would hand it out.
func TestCountersAreVerifiedAgainWhenTheSequencerWasAway(t *testing.T) {
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	seq := &unsteady{Sequencer: memseq.New(10)}
	p := newPositions(Config{Store: s, Sequencer: seq}.withDefaults())
	defer p.stop()
	put := func(position int64) {
		now := time.Now()
		_, err := s.InsertEntries(t.Context(), []store.Entry{{User: "bob", Position: position, Kind: store.Received, Message: store.NewMessageID(now), At: now, ExpiresAt: now.Add(time.Hour), PurgeAt: now.Add(time.Hour)}})
		require.NoError(t, err)
	}
	take := func(users ...string) []int64 {
		taken, placed, err := p.next(t.Context(), users)
		require.NoError(t, err)
		placed()
		return taken
	}
	require.Equal(t, []int64{1}, take("bob"))
	put(1)
	seq.away.Store(true)
	require.Equal(t, []int64{2, 3}, take("bob", "bob"))
	put(3) // the send that took 2 has died
	seq.away.Store(false)
	require.Eventually(t, func() bool { return !p.away() }, 10*sequencerPause, time.Millisecond)
	require.Equal(t, []int64{4}, take("bob"))
}
