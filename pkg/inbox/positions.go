package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/sealpost/sealpost/pkg/batch"
	"github.com/sealpost/sealpost/pkg/store"
)

// sequencerPause is how long a sequencer that failed is left alone: sends must not each wait for its timeout.
const sequencerPause = time.Second

// sequencerTimeout bounds one round trip to the sequencer, so that a stalled one leaves a send time enough to do
// without it.
const sequencerTimeout = 500 * time.Millisecond

// verifiedUsers bounds how many users' counters are known not to lag.
const verifiedUsers = 1 << 17

// verifyRounds bounds how often counters are verified anew because the sequencer is another one again.
const verifyRounds = 4

// errSequencerAway marks the failure of a sequencer, as against that of the store.
var errSequencerAway = errors.New("sequencer away")

// positions takes positions from the sequencer, and from the log's tails while the sequencer is away.
//
// What it must not do is hand out a position below one that was acknowledged before: if nobody has it (its sender died,
// say), the store would take it, and a message would stand before an older one. A counter that has lost nothing is never
// below. Counters that may have gone back are raised to the tail before they are used. Without the sequencer the position
// after the tail is taken, and none is kept in mind.
//
// Sends that come together take their positions together: one round trip to the sequencer or, without it, one look at
// each tail, so that its being away does not make them wait for each other one by one.
type positions struct {
	sequencer Sequencer
	tails     interface {
		Tails(ctx context.Context, users []string) (map[string]store.Tail, error)
	}
	metrics   *Metrics
	began     time.Time
	awayUntil atomic.Int64 // nanoseconds since began
	// verified holds the incarnation of the sequencer in which a user's counter was found not to lag.
	verified *lru.Cache[string, uint64]
	turns    turns
	// turnTimeout is for how long a send that has taken positions may keep others from the tails.
	turnTimeout time.Duration
	together    *batch.Batcher[string, grant]
}

// grant is a position that a send has taken.
type grant struct {
	position int64
	// of is what waits for entries to stand there; nil for nothing.
	of *placing
}

// placing is a number of positions that are to be filled before others look at the tails.
type placing struct {
	left atomic.Int64
	end  func()
}

func (p *placing) placed(n int) {
	if p.left.Add(int64(-n)) <= 0 {
		p.end()
	}
}

func newPositions(cfg Config) *positions {
	verified, err := lru.New[string, uint64](verifiedUsers)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	p := &positions{
		sequencer: bounded{cfg.Sequencer}, tails: cfg.Store, metrics: cfg.Metrics, began: time.Now(), verified: verified,
		turnTimeout: cfg.WriteTimeout,
	}
	bounds := batch.Config{Queue: cfg.QueueLength, Items: maxBatchDocuments, Bytes: maxBatchBytes}
	p.together = batch.New(bounds, func(user string) int { return len(user) }, p.take)
	return p
}

// stop waits for what is under way.
func (p *positions) stop() { p.together.Stop() }

// bounded gives each round trip of a sequencer its own short deadline.
type bounded struct{ Sequencer }

func (b bounded) Next(ctx context.Context, users []string) ([]int64, error) {
	ctx, cancel := context.WithTimeout(ctx, sequencerTimeout)
	defer cancel()
	taken, err := b.Sequencer.Next(ctx, users)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errSequencerAway, err)
	}
	return taken, nil
}

func (b bounded) Raise(ctx context.Context, floors map[string]int64) error {
	ctx, cancel := context.WithTimeout(ctx, sequencerTimeout)
	defer cancel()
	if err := b.Sequencer.Raise(ctx, floors); err != nil {
		return fmt.Errorf("%w: %w", errSequencerAway, err)
	}
	return nil
}

// next takes one position for each user; none is listed twice. placed is to be called when entries stand there, or do not.
func (p *positions) next(ctx context.Context, users []string) (taken []int64, placed func(), err error) {
	grants, err := p.together.Do(ctx, users)
	if err != nil {
		return nil, nil, err
	}
	taken = make([]int64, len(grants))
	for i, g := range grants {
		taken[i] = g.position
	}
	placed = func() {
		if of := grants[0].of; of != nil {
			of.placed(len(grants))
		}
	}
	return taken, placed, nil
}

// take is next for several sends, whose users are listed one send after the other.
func (p *positions) take(ctx context.Context, users []string) ([]grant, error) {
	if !p.away() {
		taken, err := p.counted(ctx, users)
		if err == nil || !p.leaveAlone(ctx, err) {
			grants := make([]grant, len(taken))
			for i, position := range taken {
				grants[i].position = position
			}
			return grants, err
		}
	}
	p.metrics.sequencerFallbacks.Inc()
	return p.afterTails(ctx, users)
}

// passTail makes the counters of users pass the tails of their logs.
func (p *positions) passTail(ctx context.Context, users []string) error {
	if p.away() {
		return nil // there are no counters
	}
	err := p.raise(ctx, users)
	if err != nil && p.leaveAlone(ctx, err) {
		return nil
	}
	return err
}

// away reports whether the sequencer is left alone.
func (p *positions) away() bool { return int64(time.Since(p.began)) < p.awayUntil.Load() }

// leaveAlone reports whether an error is the sequencer's, which is then left alone for a while. Its counters miss what is
// placed without it meanwhile: they are verified anew.
func (p *positions) leaveAlone(ctx context.Context, err error) bool {
	if !errors.Is(err, errSequencerAway) || ctx.Err() != nil {
		return false
	}
	p.awayUntil.Store(int64(time.Since(p.began) + sequencerPause))
	p.verified.Purge()
	return true
}

// counted takes positions from the sequencer.
func (p *positions) counted(ctx context.Context, users []string) ([]int64, error) {
	for range verifyRounds {
		incarnation := p.sequencer.Incarnation()
		if err := p.verify(ctx, incarnation, users); err != nil {
			return nil, err
		}
		taken, err := p.seeded(ctx, users)
		if err != nil || p.sequencer.Incarnation() == incarnation {
			return taken, err
		}
	}
	return nil, fmt.Errorf("%w: it is another one again and again", errSequencerAway)
}

// verify raises the counters that may lag.
func (p *positions) verify(ctx context.Context, incarnation uint64, users []string) error {
	var doubtful []string
	for _, user := range distinct(users) {
		if in, ok := p.verified.Get(user); !ok || in != incarnation {
			doubtful = append(doubtful, user)
		}
	}
	if len(doubtful) == 0 {
		return nil
	}
	if err := p.raise(ctx, doubtful); err != nil {
		return err
	}
	if p.sequencer.Incarnation() == incarnation {
		for _, user := range doubtful {
			p.verified.Add(user, incarnation)
		}
	}
	return nil
}

func (p *positions) raise(ctx context.Context, users []string) error {
	floors, err := p.tailsOf(ctx, users)
	if err != nil {
		return err
	}
	return p.sequencer.Raise(ctx, floors)
}

// seeded takes positions and sets the counters that are missing from the log's tail.
func (p *positions) seeded(ctx context.Context, users []string) ([]int64, error) {
	taken, err := p.sequencer.Next(ctx, users)
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
	if err := p.raise(ctx, distinct(missing)); err != nil {
		return nil, err
	}
	again, err := p.sequencer.Next(ctx, missing)
	if err != nil {
		return nil, err
	}
	for i, position := range again {
		if position == 0 {
			return nil, fmt.Errorf("%w: it forgot a counter that was just set", errSequencerAway)
		}
		taken[at[i]] = position
	}
	return taken, nil
}

// afterTails takes the positions after the tails. Of this process, one batch of sends at a time has a user, so that they
// do not all try the same positions; of those of other processes one wins, and the others take the next.
func (p *positions) afterTails(ctx context.Context, users []string) ([]grant, error) {
	each := distinct(users)
	release, err := p.turns.take(ctx, each)
	if err != nil {
		return nil, err
	}
	at, err := p.tailsOf(ctx, each)
	if err != nil {
		release()
		return nil, err
	}
	of := &placing{}
	of.left.Store(int64(len(users)))
	of.end = sync.OnceFunc(release)
	time.AfterFunc(p.turnTimeout, of.end) // a send that has given up since does not tell
	grants := make([]grant, len(users))
	for i, user := range users {
		at[user]++
		grants[i] = grant{at[user], of}
	}
	return grants, nil
}

// distinct lists each user once.
func distinct(users []string) []string {
	sorted := slices.Sorted(slices.Values(users))
	return slices.Compact(sorted)
}

func (p *positions) tailsOf(ctx context.Context, users []string) (map[string]int64, error) {
	tails, err := p.tails.Tails(ctx, users)
	if err != nil {
		return nil, err
	}
	floors := make(map[string]int64, len(users))
	for _, user := range users {
		floors[user] = tails[user].Position
	}
	return floors, nil
}
