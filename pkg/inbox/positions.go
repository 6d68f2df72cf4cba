package inbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealpost/sealpost/pkg/batch"
)

const (
	// sequencerPause is how long a sequencer that failed is left alone: sends must not each wait for its timeout.
	sequencerPause = time.Second
	// sequencerTimeout bounds asking the sequencer once, so that a stalled one leaves a send time enough to do without it.
	sequencerTimeout = 500 * time.Millisecond
	// sequencerRounds bounds how often one send asks, because the sequencer is another one again.
	sequencerRounds = 4
	// sequencerBatch is how many positions are asked for at once, at most: those of two of the largest sends.
	sequencerBatch = 2050
)

// errSequencerAway marks the failure of a sequencer, as against that of the store.
var errSequencerAway = errors.New("sequencer away")

// positions takes positions from the sequencer. While it is away they are those after the log's tails.
//
// What it must not do is hand out a position below one that was acknowledged before: if nobody has it (its sender died, say), the
// store would take it, and a message would stand before an older one. A counter that has lost nothing is never below, unless others
// did without it: those leave nothing free below what they place (see tails), so that a counter which hands out such a position is
// refused and passes the tail. A counter that may have gone back is not believed: Counters does not hand out its positions but above
// a tail that was read since.
//
// Sends that come together take their positions together, in one round trip. It stands before nobody: the tails that some of them
// need are read outside of it.
type positions struct {
	counters Counters
	tails    *tails
	metrics  *Metrics
	sequencer
	together *batch.Batcher[Want, int64]
	// asking is held by who asks the counters: they are asked by one at a time.
	asking sync.Mutex
}

func newPositions(cfg Config) *positions {
	p := &positions{counters: countersOf(cfg), metrics: cfg.Metrics, sequencer: sequencer{began: time.Now()}, tails: newTails(&cfg)}
	p.tails.leave = p.leave
	bounds := batch.Config{Queue: cfg.QueueLength, Items: sequencerBatch, Bytes: maxBatchBytes}
	p.together = batch.New(bounds, func(w Want) int { return len(w.User) }, p.ask)
	return p
}

// stop waits for what is under way.
func (p *positions) stop() {
	p.tails.stop()
	p.together.Stop()
}

// ask asks the sequencer for several sends, within its own short time.
func (p *positions) ask(ctx context.Context, wants []Want) ([]int64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sequencerTimeout)
	defer cancel()
	p.asking.Lock()
	taken, err := p.counters.Take(ctx, wants)
	p.asking.Unlock()
	if err != nil {
		p.leaveAlone()
		return nil, fmt.Errorf("%w: %w", errSequencerAway, err)
	}
	for i, w := range wants {
		if w.HasTail() || taken[i] > 0 { // else it may not have been asked at all
			p.answered()
			break
		}
	}
	return taken, nil
}

// next takes a position for each user; none is listed twice. 0 stands for the position after the tail, because the sequencer is
// away. Counters that lag are to be raised past the tails first.
func (p *positions) next(ctx context.Context, users []string, lagging bool) ([]int64, error) {
	taken := make([]int64, len(users))
	wants, at := make([]Want, len(users)), make([]int, len(users))
	for i, user := range users {
		wants[i], at[i] = Want{User: user}, i
	}
	may, trying := p.may()
	for round := 0; may && round < sequencerRounds; round++ {
		if round > 0 || lagging {
			if err := p.tails.read(ctx, wants); err != nil {
				return nil, err
			}
		}
		positions, err := p.together.Do(ctx, wants)
		if errors.Is(err, errSequencerAway) {
			break
		}
		if err != nil {
			return nil, err
		}
		open := 0
		for i, position := range positions {
			if position == 0 {
				wants[open], at[open] = wants[i], at[i]
				open++
				continue
			}
			taken[at[i]] = position
		}
		if wants, at = wants[:open], at[:open]; open == 0 {
			return taken, nil
		}
		may = trying || !p.away()
	}
	p.metrics.sequencerFallbacks.Inc()
	return taken, nil
}

// leave tells the counters of tails that nobody waits for any more, so that the next send finds them known.
func (p *positions) leave(ctx context.Context, wants []Want) {
	if !p.away() {
		_, _ = p.together.Do(ctx, wants) // else the next one finds them itself
	}
}

// sequencer is whether a sequencer is there.
type sequencer struct {
	began time.Time
	// awayUntil is 0 while it answers; else until when it is left alone, in nanoseconds since began.
	awayUntil atomic.Int64
}

// may reports whether the sequencer may be asked. Of those who want to when it has been left alone for long enough, one may try: the
// others do not wait for what comes of that.
func (s *sequencer) may() (may, trying bool) {
	until := s.awayUntil.Load()
	if until == 0 {
		return true, false
	}
	now := int64(time.Since(s.began))
	trying = now >= until && s.awayUntil.CompareAndSwap(until, now+int64(sequencerPause))
	return trying, trying
}

func (s *sequencer) away() bool { return s.awayUntil.Load() != 0 }

func (s *sequencer) leaveAlone() { s.awayUntil.Store(int64(time.Since(s.began) + sequencerPause)) }

func (s *sequencer) answered() {
	if s.away() {
		s.awayUntil.Store(0)
	}
}
