package inbox

import (
	"time"

	"github.com/sealpost/sealpost/pkg/lru"
)

// watched bounds how many undecided positions are watched: at some 200 bytes each, 13 MB. One that is evicted is watched from the start
// again.
const watched = 1 << 16

// watch remembers since when this process has seen something undecided. A reader goes by what it has seen itself, so that a clock that runs
// ahead does not abort the sends of others.
type watch struct {
	firstSeen *lru.Cache[string, time.Time]
	now       func() time.Time
	timeout   time.Duration
	maxSkew   time.Duration
	// aloneSince: see Config.AloneSince.
	aloneSince time.Time
}

func newWatch(cfg Config) *watch {
	return &watch{firstSeen: lru.New[string, time.Time](watched), now: cfg.Now, timeout: cfg.HoleTimeout, maxSkew: cfg.MaxClockSkew, aloneSince: cfg.AloneSince}
}

// tooLong reports whether what key names has been undecided for the timeout, as seen by this process, or for the timeout plus the clock
// skew by the clock of its writer, who wrote at writtenAt.
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

// notice starts to watch key, unless it is watched already.
func (w *watch) notice(key string) { w.firstSeen.ContainsOrAdd(key, w.now()) }

// watches reports whether key is watched.
func (w *watch) watches(key string) bool { return w.firstSeen.Contains(key) }

// extend also watches the key to, of a position that has been missing as long as from.
func (w *watch) extend(from, to string) {
	if first, seen := w.firstSeen.Get(from); seen {
		w.firstSeen.Add(to, first)
	}
}

// carry replaces the watched key from by to, keeping the time since when it is watched.
func (w *watch) carry(from, to string) {
	w.extend(from, to)
	w.decided(from)
}

// decided forgets key.
func (w *watch) decided(key string) { w.firstSeen.Remove(key) }
