package inbox_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/memseq"
	"github.com/sealpost/sealpost/pkg/store/sqlite"
)

// TestARepeatDoesNotCommitOverEntriesThatAreAboutToGo: a send died after it had prepared its entries, and is repeated shortly
// before they expire. It was acknowledged, and was gone a moment later.
func TestARepeatDoesNotCommitOverEntriesThatAreAboutToGo(t *testing.T) {
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "db"))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	start := time.Now()
	clock := start
	cfg := inbox.Config{Store: s, Sequencer: memseq.New(10), Retention: 24 * time.Hour, Now: func() time.Time { return clock }}
	dies := cfg
	dies.Failpoint = func(_ context.Context, step inbox.Step) error {
		if step == inbox.StepEntries {
			return errors.New("killed here")
		}
		return nil
	}
	d := inbox.Draft{Sender: "Ann", Recipients: []inbox.Recipient{{Username: "Ben", WrappedKey: "k"}}, Content: "x", IV: "iv", ClientMessageID: "c1"}
	first := inbox.NewWriter(dies)
	defer first.Stop()
	_, err = first.Append(t.Context(), d)
	require.Error(t, err)
	clock = start.Add(24*time.Hour - time.Second)
	second := inbox.NewWriter(cfg)
	defer second.Stop()
	_, err = second.Append(t.Context(), d)
	require.NoError(t, err)
	clock = clock.Add(2 * time.Second)
	batch, err := inbox.NewReader(cfg).Read(t.Context(), "ben", 0, 10)
	require.NoError(t, err)
	require.Len(t, batch.Items, 1, "acknowledged two seconds ago, with a lifetime of a day")
}
