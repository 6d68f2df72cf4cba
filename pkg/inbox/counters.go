package inbox

import (
	"context"
	"time"

	"github.com/sealpost/sealpost/pkg/inbox/internal/recent"
)

// Counters hands out positions, and gives none of a counter that may have gone back: the next position of such a counter
// may be free though later ones were acknowledged.
//
// It is what Sequencer is, with the judgment which counters to believe, and it can be told by whom that is known best. Two
// things make a counter doubtful: that it stands on another server, or in other data, than when it was last compared with the
// log; and that positions which were handed out before that may still be on their way into the log. So a counter is believed
// once it was compared with a tail that was read when nothing from before could be under way any more. Until then each want
// brings a tail of its own.
type Counters interface {
	// Take takes the next position of each want, in a round trip or two. 0 is for a want without a tail, of a counter that
	// is missing or doubtful: it is to come again with the tail. A want with a tail gets a position above it.
	Take(ctx context.Context, wants []Want) ([]int64, error)
}

// Want asks for one position.
type Want struct {
	User string
	// Tail is a position that the inbox's tail had at ReadAt; not known while ReadAt is zero. It was read after the send began
	// that wants the position, so that what was acknowledged before the send is not above it.
	Tail   int64
	ReadAt time.Time
	// RaiseOnly makes the counter pass the tail and takes no position: the answer is 0.
	RaiseOnly bool
}

// HasTail reports whether the want brings a tail.
func (w Want) HasTail() bool { return !w.ReadAt.IsZero() }

// sequenced makes Counters of a Sequencer. It is called by one at a time.
type sequenced struct {
	Sequencer
	// believed holds of each user the incarnation in which its counter was found right, plus one.
	believed *recent.Users
	// settling is for how long positions of before may be on their way after the counters have changed.
	settling time.Duration
	// since is when the incarnation was seen first.
	incarnation uint64
	since       time.Time
}

// countersOf are what a Config names.
func countersOf(cfg Config) Counters {
	if cfg.Counters != nil {
		return cfg.Counters
	}
	s := &sequenced{Sequencer: cfg.Sequencer, believed: recent.NewUsers(), settling: cfg.WriteTimeout}
	if !cfg.AloneSince.IsZero() {
		s.settling = 0 // there is no other writer, and those of before are gone
	}
	s.observe()
	return s
}

// Take implements Counters.
func (s *sequenced) Take(ctx context.Context, wants []Want) ([]int64, error) {
	incarnation := s.observe()
	floors := map[string]int64{}
	var users []string
	var at []int
	for i, w := range wants {
		if w.HasTail() {
			floors[w.User] = max(floors[w.User], w.Tail)
		}
		if !w.RaiseOnly && (w.HasTail() || s.believed.Get(w.User) == incarnation+1) {
			users, at = append(users, w.User), append(at, i)
		}
	}
	if len(floors) > 0 {
		if err := s.Raise(ctx, floors); err != nil {
			return nil, err
		}
	}
	positions := make([]int64, len(wants))
	if len(users) > 0 {
		taken, err := s.Next(ctx, users)
		if err != nil {
			return nil, err
		}
		for i, position := range taken {
			positions[at[i]] = position
		}
	}
	if s.observe() != incarnation {
		return make([]int64, len(wants)), nil
	}
	s.judge(wants, positions)
	return positions, nil
}

// observe asks for the incarnation and notes when it is another one.
func (s *sequenced) observe() uint64 {
	if now := s.Incarnation(); now != s.incarnation || s.since.IsZero() {
		s.incarnation, s.since = now, time.Now()
	}
	return s.incarnation
}

// judge refuses positions that are not above the tails they were wanted with, for the counter has gone back since it was
// raised, and believes the other counters whose tails can vouch for them.
func (s *sequenced) judge(wants []Want, positions []int64) {
	for i, w := range wants {
		switch {
		case !w.HasTail():
		case !w.RaiseOnly && positions[i] <= w.Tail:
			positions[i] = 0
		case w.ReadAt.Sub(s.since) >= s.settling:
			s.believed.Put(w.User, s.incarnation+1)
		}
	}
}
