package inbox

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealpost/sealpost/pkg/inbox/memseq"
)

// sequencerPause is how long a sequencer that failed is left alone: sends must not each wait for its timeout.
const sequencerPause = time.Second

// sequencerTimeout bounds one round trip to the sequencer, so that a stalled one leaves a send time enough to do
// without it.
const sequencerTimeout = 500 * time.Millisecond

// localUsers bounds the counters kept for the time the sequencer is away.
const localUsers = 1 << 16

// errSequencerAway marks the failure of a sequencer, as against that of the store.
var errSequencerAway = errors.New("sequencer away")

// positions takes positions from the sequencer, sets counters that are missing from the log's tail, and does without
// the sequencer while it is away.
type positions struct {
	sequencer Sequencer
	local     Sequencer
	tails     interface {
		Tail(ctx context.Context, user string) (int64, error)
	}
	metrics   *Metrics
	began     time.Time
	awayUntil atomic.Int64 // nanoseconds since began
}

func newPositions(cfg Config) *positions {
	return &positions{
		sequencer: bounded{cfg.Sequencer}, local: memseq.New(localUsers), tails: cfg.Store, metrics: cfg.Metrics, began: time.Now(),
	}
}

// bounded gives each round trip of a sequencer its own short deadline.
type bounded struct{ inner Sequencer }

func (b bounded) Next(ctx context.Context, users []string) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, sequencerTimeout)
	defer cancel()
	taken, err := b.inner.Next(ctx, users)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSequencerAway, err)
	}
	return taken, nil
}

func (b bounded) Raise(ctx context.Context, floors map[string]int64) error {
	ctx, cancel := context.WithTimeout(ctx, sequencerTimeout)
	defer cancel()
	if err := b.inner.Raise(ctx, floors); err != nil {
		return fmt.Errorf("%w: %w", errSequencerAway, err)
	}
	return nil
}

// next takes one position for each user.
func (p *positions) next(ctx context.Context, users []string) ([]int64, error) {
	var taken []int64
	err := p.with(ctx, func(s Sequencer) error {
		var err error
		taken, err = p.seeded(ctx, s, users)
		return err
	})
	return taken, err
}

// passTail makes the counters of users pass the tails of their logs.
func (p *positions) passTail(ctx context.Context, users []string) error {
	floors, err := p.tailsOf(ctx, users)
	if err != nil {
		return err
	}
	return p.with(ctx, func(s Sequencer) error { return s.Raise(ctx, floors) })
}

// with tries the sequencer, and the local one when that fails or has failed just now.
func (p *positions) with(ctx context.Context, do func(Sequencer) error) error {
	if int64(time.Since(p.began)) >= p.awayUntil.Load() {
		err := do(p.sequencer)
		if !errors.Is(err, errSequencerAway) || ctx.Err() != nil {
			return err
		}
		p.awayUntil.Store(int64(time.Since(p.began) + sequencerPause))
	}
	p.metrics.sequencerFallbacks.Inc()
	return do(p.local)
}

// seeded takes positions from s and sets the counters that s lacks from the log's tail.
func (p *positions) seeded(ctx context.Context, s Sequencer, users []string) ([]int64, error) {
	taken, err := s.Next(ctx, users)
	if err != nil {
		return nil, err
	}
	var missing []string
	var at []int
	for i, position := range taken {
		if position == 0 {
			missing, at = append(missing, users[i]), append(at, i)
		}
	}
	if len(missing) == 0 {
		return taken, nil
	}
	floors, err := p.tailsOf(ctx, missing)
	if err != nil {
		return nil, err
	}
	if err := s.Raise(ctx, floors); err != nil {
		return nil, err
	}
	again, err := s.Next(ctx, missing)
	if err != nil {
		return nil, err
	}
	for i, position := range again {
		if position == 0 {
			return nil, fmt.Errorf("sequencer forgot a counter that was just set")
		}
		taken[at[i]] = position
	}
	return taken, nil
}

// tailReads bounds how many tails one send reads at once.
const tailReads = 16

func (p *positions) tailsOf(ctx context.Context, users []string) (map[string]int64, error) {
	tails := make([]int64, len(users))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(tailReads)
	for i, user := range users {
		group.Go(func() error {
			var err error
			tails[i], err = p.tails.Tail(ctx, user)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	floors := make(map[string]int64, len(users))
	for i, user := range users {
		floors[user] = tails[i]
	}
	return floors, nil
}
