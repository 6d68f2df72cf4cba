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
	// sequencerPause is how long a sequencer that failed is not asked: otherwise each send would wait for its timeout.
	sequencerPause = time.Second
	// sequencerTimeout bounds one request to the sequencer, so that a stalled one leaves a send time to do without it.
	sequencerTimeout = 500 * time.Millisecond
	// sequencerRounds bounds how often one send asks because the incarnation has changed again.
	sequencerRounds = 4
	// sequencerBatch is the most positions requested at once: those of two of the largest sends.
	sequencerBatch = 2050
)

// errSequencerAway marks a failure of the sequencer, as opposed to one of the store.
var errSequencerAway = errors.New("sequencer away")

// positions takes positions from the sequencer. While the sequencer is away, entries are placed after the log's tails.
//
// It must not hand out a position below one that was acknowledged before: if that position is free, for example because its sender died,
// the store would accept it, and a message would come before an older one. A counter that lost nothing is never below, unless other nodes
// worked without it. Those leave no position free below what they place (see tails), so such a counter's position is refused and the
// counter is raised past the tail. Counters does not trust a counter that may have gone back: it hands out only positions above a tail read
// since.
//
// Concurrent sends take their positions in one round trip. Sends that need tails do not hold it up: tails are read outside of it.
type positions struct {
	counters Counters
	tails    *tails
	metrics  *Metrics
	availability
	together *batch.Batcher[Want, int64]
	// asking is held while the counters are asked: one request at a time.
	asking sync.Mutex
}

func newPositions(cfg Config) *positions {
	p := &positions{counters: countersOf(cfg), metrics: cfg.Metrics, availability: availability{began: time.Now()}, tails: newTails(&cfg)}
	p.tails.leave = p.leave
	bounds := batch.Config{Queue: cfg.QueueLength, Items: sequencerBatch, Bytes: maxBatchBytes}
	p.together = batch.New(bounds, func(w Want) int { return len(w.User) }, p.ask)
	return p
}

// stop waits for the requests under way.
func (p *positions) stop() {
	p.tails.stop()
	p.together.Stop()
}

// ask asks the sequencer for several sends, with a short timeout of its own.
func (p *positions) ask(ctx context.Context, wants []Want) ([]int64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sequencerTimeout)
	defer cancel()
	p.asking.Lock()
	taken, err := p.counters.Take(ctx, wants)
	p.asking.Unlock()
	if err != nil {
		p.markAway()
		return nil, fmt.Errorf("%w: %w", errSequencerAway, err)
	}
	for i, w := range wants {
		if w.HasTail() || taken[i] > 0 { // else the sequencer may not have been asked at all
			p.answered()
			break
		}
	}
	return taken, nil
}

// next takes a position for each user; no user may be listed twice. 0 means that the sequencer is away and the entry is to be placed after
// the tail. If lagging, the counters are raised past the tails first.
func (p *positions) next(ctx context.Context, users []string, lagging bool) ([]int64, error) {
	taken := make([]int64, len(users))
	wants, at := make([]Want, len(users)), make([]int, len(users))
	for i, user := range users {
		wants[i], at[i] = Want{User: user}, i
	}
	may, trying := p.mayAsk()
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

// leave passes tails of sends that gave up to the counters, so that the next send finds them known.
func (p *positions) leave(ctx context.Context, wants []Want) {
	if !p.away() {
		_, _ = p.together.Do(ctx, wants) // on failure the next send reads them itself
	}
}

// availability tracks whether the sequencer answers.
type availability struct {
	began time.Time
	// awayUntil is 0 while the sequencer answers; otherwise it is not asked until then, in nanoseconds since began.
	awayUntil atomic.Int64
}

// mayAsk reports whether the sequencer may be asked. After the pause, one caller may try; the others do not wait for the result.
func (s *availability) mayAsk() (may, trying bool) {
	until := s.awayUntil.Load()
	if until == 0 {
		return true, false
	}
	now := int64(time.Since(s.began))
	trying = now >= until && s.awayUntil.CompareAndSwap(until, now+int64(sequencerPause))
	return trying, trying
}

func (s *availability) away() bool { return s.awayUntil.Load() != 0 }

func (s *availability) markAway() { s.awayUntil.Store(int64(time.Since(s.began) + sequencerPause)) }

func (s *availability) answered() {
	if s.away() {
		s.awayUntil.Store(0)
	}
}
