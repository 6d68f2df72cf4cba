package simulation

import (
	"slices"
	"strings"
	"time"

	"github.com/sealpost/sealpost/pkg/api"
	"github.com/sealpost/sealpost/pkg/inbox"
)

// longestPause is how long a client that hardly waits stays away between two polls, once all is healed.
const longestPause = 16 * time.Second

// arrived checks that a message came within bound.
func (r *device) arrived(m api.Message) {
	w := r.w
	if _, before := r.seen[m.EncryptedContent]; before {
		return
	}
	now := time.Now()
	r.seen[m.EncryptedContent] = now
	s := w.sends[m.EncryptedContent]
	if s == nil || s.acknowledged.IsZero() || r.attentive.IsZero() {
		return
	}
	if s.expires > 0 && w.skew() > 0 {
		return // it has expired by one clock and not by another: the next node may still show it
	}
	since := s.acknowledged
	for _, t := range []time.Time{r.attentive, w.troubled} {
		if t.After(since) {
			since = t
		}
	}
	// A reader that gets a few messages at a time, from different nodes, may wait at gaps each time.
	if w.holes && r.served.After(since) {
		since = r.served
	}
	bound := w.bound()
	if bound == boundOfHoles && r.wait <= inbox.DefaultHoleTimeout {
		// Each gateway watches an empty position for a while after a poll has read it, and these polls are rare: one node after the other.
		bound += time.Duration(w.plan.Shape.Gateways) * (inbox.DefaultHoleTimeout + longestPause)
	}
	if late := now.Sub(since) - r.paused; late > bound {
		w.fault("%s was given %s %s after it was acknowledged and nothing was wrong any more", r, m.EncryptedContent, late.Round(time.Millisecond))
	}
}

// bound is how late a message may be. An event may be lost without notice: then the next verification finds it. Where no event is lost
// without notice, it is the design's two seconds and one for the way; where positions are left empty, as by a Redis that counts and does not
// answer, the time until they are decided comes on top.
func (w *world) bound() time.Duration {
	switch {
	case !w.prompt && w.holes && w.stepped:
		return 80*time.Second + w.skew()
	case !w.prompt:
		return 80 * time.Second
	case w.holes:
		return boundOfHoles
	}
	return 3 * time.Second
}

// boundOfHoles is longer than two nodes wait at a gap, one after the other: a poll that began at the first before the message came goes on
// at the second.
const boundOfHoles = 12 * time.Second

// judgePromptness decides whether messages must be prompt in this run: whether only faults happen of which everybody concerned learns.
func (w *world) judgePromptness() {
	w.prompt = !slices.ContainsFunc(w.plan.Faults, func(f Fault) bool { return !slices.Contains(knownFaults, f.Kind) })
	for name := range w.plan.Rates {
		w.prompt = w.prompt && slices.Contains(knownRates, name)
		w.holes = w.holes || name == rateTwice || name == rateSeqFail || name == ratePartial
	}
	for _, f := range w.plan.Faults {
		w.holes = w.holes || strings.HasPrefix(f.Kind, "redis") || f.Kind == storeDown || f.Kind == storeCut
	}
	// With a short retention, readers may wait at entries whose messages are gone before these count as old.
	w.holes = w.holes || w.plan.Shape.Retention < time.Hour
	w.prompt = w.prompt && w.plan.Shape.prompt()
	// Unlike with time.Now, a jump of a simulated clock affects what is measured by it: a gateway whose clock goes back waits longer at
	// gaps.
	w.stepped = slices.ContainsFunc(w.plan.Faults, func(f Fault) bool { return f.Kind == clockStep })
	w.prompt = w.prompt && (!w.holes || !w.stepped)
}

// prompt reports whether messages can be prompt: the store is near, and no inbox is emptied. The tail of an inbox that retention has emptied
// may be a thousand positions too high: they are filled with holes in several rounds.
func (s Shape) prompt() bool { return !s.Far && s.Quiet == 0 && s.Again == 0 }
