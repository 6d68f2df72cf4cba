package inbox

import (
	"context"
	"hash/maphash"
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

// hasTail reports whether the want brings a tail.
func (w Want) hasTail() bool { return !w.ReadAt.IsZero() }

// BelievedUsers is how many users' counters are believed at a time, at least; twice as many at most. Each takes some 40 bytes.
const BelievedUsers = 1 << 20

// Believed remembers of which users the counters are believed, and as of which incarnation of what they stand on. It knows
// users by a hash of 64 bits under a key of its own: that any two of a million users are taken for each other happens once in
// 37 million processes, and harms only if one of the two counters lags at that time. Callers keep it to one at a time.
type Believed struct {
	seed  maphash.Seed
	users *recent.Map[uint64, uint64]
}

// NewBelieved makes an empty memory.
func NewBelieved() *Believed {
	return &Believed{seed: maphash.MakeSeed(), users: recent.New[uint64, uint64](BelievedUsers)}
}

// Believe notes that user's counter is right in an incarnation.
func (b *Believed) Believe(user string, incarnation uint64) {
	b.users.Put(maphash.String(b.seed, user), incarnation)
}

// Believes reports whether user's counter is known to be right in an incarnation.
func (b *Believed) Believes(user string, incarnation uint64) bool {
	in, known := b.users.Get(maphash.String(b.seed, user))
	return known && in == incarnation
}

// sequenced makes Counters of a Sequencer. It is called by one at a time.
type sequenced struct {
	Sequencer
	believed *Believed
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
	s := &sequenced{Sequencer: cfg.Sequencer, believed: NewBelieved(), settling: cfg.WriteTimeout}
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
		if w.hasTail() {
			floors[w.User] = max(floors[w.User], w.Tail)
		}
		if !w.RaiseOnly && (w.hasTail() || s.believed.Believes(w.User, incarnation)) {
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
		case !w.hasTail():
		case !w.RaiseOnly && positions[i] <= w.Tail:
			positions[i] = 0
		case w.ReadAt.Sub(s.since) >= s.settling:
			s.believed.Believe(w.User, s.incarnation)
		}
	}
}
