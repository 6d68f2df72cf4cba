package inbox_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealpost/sealpost/pkg/inbox"
	"github.com/sealpost/sealpost/pkg/inbox/inboxtest"
	"github.com/sealpost/sealpost/pkg/inbox/memseq"
	"github.com/sealpost/sealpost/pkg/store/pebble"
)

// TestARepeatDoesNotCommitOverEntriesThatAreAboutToGo: a send died after it had prepared its entries, and was repeated shortly before they
// expired. The repeat was acknowledged, and its message was gone a moment later.
func TestARepeatDoesNotCommitOverEntriesThatAreAboutToGo(t *testing.T) {
	s, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	start := time.Now()
	clock := start
	cfg := inbox.Config{Store: inboxtest.TwoSteps(s), Sequencer: memseq.New(10), Retention: 24 * time.Hour, Now: func() time.Time { return clock }}
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

// late is a log with a retention of a day, whose clock the test moves.
type late struct {
	t     *testing.T
	store *pebble.Store
	cfg   inbox.Config
	draft inbox.Draft
	start time.Time
	clock time.Time
}

func newLate(t *testing.T) *late {
	s, err := pebble.Open(t.Context(), t.TempDir(), pebble.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	l := &late{t: t, store: s, start: time.Now()}
	l.clock = l.start
	l.cfg = inbox.Config{Store: inboxtest.TwoSteps(s), Sequencer: memseq.New(10), Retention: 24 * time.Hour, Now: func() time.Time { return l.clock }}
	l.draft = inbox.Draft{Sender: "Ann", Recipients: []inbox.Recipient{{Username: "Ben", WrappedKey: "k"}}, Content: "x", IV: "iv", ClientMessageID: "c1"}
	return l
}

// failedLongAgo returns one in which a first attempt died before its commit and a reader aborted it.
func failedLongAgo(t *testing.T) *late {
	l := newLate(t)
	_, err := l.send(inbox.StepEntries)
	require.Error(t, err)
	l.clock = l.start.Add(10 * time.Minute)
	require.Equal(t, int64(1), l.read().Next, "decided")
	return l
}

// send sends the draft with a new writer, which dies at the given steps.
func (l *late) send(dies ...inbox.Step) (inbox.Receipt, error) {
	return l.sendBy(func(_ context.Context, step inbox.Step) error {
		if slices.Contains(dies, step) {
			return errors.New("killed here")
		}
		return nil
	})
}

func (l *late) sendBy(f inbox.Failpoint) (inbox.Receipt, error) {
	cfg := l.cfg
	cfg.Failpoint = f
	w := inbox.NewWriter(cfg)
	defer w.Stop()
	return w.Append(l.t.Context(), l.draft)
}

func (l *late) read() inbox.Batch {
	batch, err := inbox.NewReader(l.cfg).Read(l.t.Context(), "ben", 0, 10)
	require.NoError(l.t, err)
	return batch
}

func (l *late) at(after time.Duration) {
	l.clock = l.start.Add(after)
	_, err := l.store.Purge(l.t.Context(), l.clock)
	require.NoError(l.t, err)
}

// TestATombstoneOutlivesTheMessageItIsPassedFor: a repeat at the end of the retention is committed under the next id. The first id was free
// again an hour later, and another repeat delivered the message again.
func TestATombstoneOutlivesTheMessageItIsPassedFor(t *testing.T) {
	l := failedLongAgo(t)
	l.at(24 * time.Hour)
	first, err := l.send()
	require.NoError(t, err)
	require.False(t, first.Duplicate)
	l.at(27 * time.Hour)
	again, err := l.send()
	require.NoError(t, err)
	require.True(t, again.Duplicate)
	require.Equal(t, first.Message.ID, again.Message.ID)
	require.Len(t, l.read().Items, 1)
}

// TestAMessageOutlivesTheEntryItIsPassedFor: a repeat at the end of the retention is slow. Readers have passed its entry, because the
// message names the first attempt's entry. Then the message was purged, and the repeat committed it again at a position that readers had
// passed.
func TestAMessageOutlivesTheEntryItIsPassedFor(t *testing.T) {
	for name, pass := range map[string]func(*late) int64{
		"read": func(l *late) int64 { return l.read().Next },
		"latest": func(l *late) int64 {
			head, err := inbox.NewReader(l.cfg).Head(l.t.Context(), "ben", 0)
			require.NoError(l.t, err)
			return head
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLate(t)
			first, err := l.send()
			require.NoError(t, err)
			l.at(24*time.Hour - time.Second)
			reached, goOn := make(chan struct{}), make(chan struct{})
			var repeat inbox.Receipt
			done := make(chan error, 1)
			go func() {
				var err error
				repeat, err = l.sendBy(func(_ context.Context, step inbox.Step) error {
					if step == inbox.StepEntries {
						close(reached)
						<-goOn
					}
					return nil
				})
				done <- err
			}()
			<-reached
			require.EqualValues(t, 2, pass(l))
			l.at(24*time.Hour + time.Minute)
			close(goOn)
			require.NoError(t, <-done)
			require.True(t, repeat.Duplicate, "it was committed once more, at %v", repeat.Message.Positions)
			require.Equal(t, first.Message.ID, repeat.Message.ID)
		})
	}
}

// TestATombstoneOutlivesTheEntryItIsPassedFor: an hour after the first attempt was aborted, a repeat died before it learned of that. When
// the tombstone was purged, a third attempt was committed over the repeat's entry, which readers had passed.
func TestATombstoneOutlivesTheEntryItIsPassedFor(t *testing.T) {
	l := failedLongAgo(t)
	l.at(25*time.Hour + time.Second) // the first entry has gone, the tombstone is kept for another ten minutes
	_, err := l.send(inbox.StepEntries)
	require.Error(t, err)
	l.at(25*time.Hour + 3*time.Minute)
	passed := l.read().Next
	require.Equal(t, int64(2), passed)
	l.at(26 * time.Hour)
	done, err := l.send()
	require.NoError(t, err)
	require.Greater(t, done.Entries[0].Position, passed, "nobody looks again at what has been passed")
}
