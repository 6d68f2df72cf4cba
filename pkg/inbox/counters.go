package inbox

import (
	"context"
	"time"

	"github.com/sealpost/sealpost/pkg/inbox/internal/recent"
)

// Counters hands out positions, but not from a counter that may have gone back: that counter's next position may be free although later
// positions were acknowledged.
//
// It is a Sequencer that also decides which counters to trust: the implementation knows best. A counter is doubtful if it is on another
// server, or in other data, than when it was last compared with the log, or if positions handed out before that comparison may still be on
// their way into the log. So a counter is trusted once it was compared with a tail that was read when nothing from before could be under
// way any more. Until then each Want must bring a tail.
type Counters interface {
	// Take takes the next position of each want, in a round trip or two. It returns 0 for a want without a tail whose counter is missing or
	// doubtful: the caller retries with the tail. A want with a tail gets a position above it.
	Take(ctx context.Context, wants []Want) ([]int64, error)
}

// Want asks for one position.
type Want struct {
	User string
	// Tail is a tail of the inbox as read at ReadAt; a zero ReadAt means unknown. It was read after the send that wants the position began,
	// so everything acknowledged before the send is at or below it.
	Tail   int64
	ReadAt time.Time
	// RaiseOnly makes the counter pass the tail and takes no position: the answer is 0.
	RaiseOnly bool
}

// HasTail reports whether the want brings a tail.
func (w Want) HasTail() bool { return !w.ReadAt.IsZero() }

// sequenced implements Counters on a Sequencer. Not safe for concurrent use.
type sequenced struct {
	Sequencer
	// trusted holds, per user, the incarnation in which its counter was confirmed, plus one.
	trusted *recent.Users
	// inFlightTime is how long old positions may still be under way after the counters have changed.
	inFlightTime time.Duration
	// since is when this incarnation was first seen.
	incarnation uint64
	since       time.Time
}

// countersOf returns the Counters that a Config names.
func countersOf(cfg Config) Counters {
	if cfg.Counters != nil {
		return cfg.Counters
	}
	s := &sequenced{Sequencer: cfg.Sequencer, trusted: recent.NewUsers(), inFlightTime: cfg.WriteTimeout}
	if !cfg.AloneSince.IsZero() {
		s.inFlightTime = 0 // there is no other writer, and earlier ones are gone
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
		if !w.RaiseOnly && (w.HasTail() || s.trusted.Get(w.User) == incarnation+1) {
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

// observe reads the incarnation and notes when it changes.
func (s *sequenced) observe() uint64 {
	if now := s.Incarnation(); now != s.incarnation || s.since.IsZero() {
		s.incarnation, s.since = now, time.Now()
	}
	return s.incarnation
}

// judge refuses positions that are not above their tails, because the counter went back after it was raised. It marks the other counters as
// trusted if their tails were read late enough.
func (s *sequenced) judge(wants []Want, positions []int64) {
	for i, w := range wants {
		switch {
		case !w.HasTail():
		case !w.RaiseOnly && positions[i] <= w.Tail:
			positions[i] = 0
		case w.ReadAt.Sub(s.since) >= s.inFlightTime:
			s.trusted.Put(w.User, s.incarnation+1)
		}
	}
}
