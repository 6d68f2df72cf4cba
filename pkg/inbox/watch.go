package inbox

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// watched bounds how many undecided positions are watched. One that is forgotten is watched anew.
const watched = 1 << 16

// watch remembers since when this process has seen something undecided. A position is settled by what the observer has
// itself seen, so that a clock that runs ahead does not abort the sends of the others.
type watch struct {
	firstSeen *lru.Cache[string, time.Time]
	now       func() time.Time
	timeout   time.Duration
	maxSkew   time.Duration
	// aloneSince: see Config.AloneSince.
	aloneSince time.Time
}

func newWatch(cfg Config) *watch {
	cache, err := lru.New[string, time.Time](watched)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return &watch{firstSeen: cache, now: cfg.Now, timeout: cfg.HoleTimeout, maxSkew: cfg.MaxClockSkew, aloneSince: cfg.AloneSince}
}

// tooLong reports whether what key names has been undecided for the timeout: as watched from here or, with the clock
// skew added, by the clock of the writer who wrote at writtenAt.
func (w *watch) tooLong(key string, writtenAt time.Time) bool {
	now := w.now()
	if now.Sub(writtenAt) >= w.timeout+w.maxSkew || writtenAt.Before(w.aloneSince) {
		return true
	}
	first, seen := w.firstSeen.Get(key)
	if !seen {
		w.firstSeen.Add(key, now)
		return false
	}
	return now.Sub(first) >= w.timeout
}

// notice begins to watch what key names, unless it is watched already.
func (w *watch) notice(key string) { w.firstSeen.ContainsOrAdd(key, w.now()) }

// watches reports whether what key names is watched.
func (w *watch) watches(key string) bool { return w.firstSeen.Contains(key) }

// extend watches another key as well, of a position that has been missing for as long.
func (w *watch) extend(from, to string) {
	if first, seen := w.firstSeen.Get(from); seen {
		w.firstSeen.Add(to, first)
	}
}

// carry goes on watching under another key, of positions that were missing as long.
func (w *watch) carry(from, to string) {
	w.extend(from, to)
	w.decided(from)
}

// decided forgets key.
func (w *watch) decided(key string) { w.firstSeen.Remove(key) }
