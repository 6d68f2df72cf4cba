package simulation

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck"
)

// sessionStep is an answer with a message to a session that keeps no cursor: from is where it had come to before.
type sessionStep struct {
	device      *device
	epoch       string
	from, given int64
	at          int64
}

// stepTo records that a session was given a position.
func (r *device) stepTo(epoch string, given int64) {
	from := int64(0)
	if epoch == r.epoch {
		from = r.given
	}
	// It is owed nothing from before it began, though a node that reads an old cursor may give it some of that.
	if began := r.w.sessionsBegan[sessionKey(r.user, r.session())]; epoch == began.Epoch {
		from = max(from, began.Position)
	}
	r.w.sessionSteps = append(r.w.sessionSteps, sessionStep{r, epoch, from, given, at(time.Now(), r.w)})
}

// stepToTheEnd records that a session has found nothing more.
func (r *device) stepToTheEnd() { r.stepTo(r.w.epoch(), math.MaxInt64) }

// checkSessions requires that no session was led past a message: an answer to it does not name the positions before its message, so the other
// answers of the last epoch say what stands there.
func (w *world) checkSessions(answers []historycheck.Answer, attempts []historycheck.Attempt) {
	inboxes := map[string]map[int64]historycheck.Seen{}
	for _, a := range answers {
		box := inboxes[a.Reader]
		if box == nil {
			box = map[int64]historycheck.Seen{}
			inboxes[a.Reader] = box
		}
		for _, m := range a.Messages {
			box[m.Position] = m
		}
	}
	gone := map[string]int64{} // when a content may be gone; 0 for never
	for _, a := range attempts {
		if before, there := gone[a.Content]; !there || a.GoneAfter < before {
			gone[a.Content] = a.GoneAfter
		}
	}
	for _, s := range w.sessionSteps {
		if s.epoch != w.epoch() {
			continue
		}
		box := inboxes[s.device.user]
		for _, p := range slices.Sorted(maps.Keys(box)) {
			after := gone[box[p].Content]
			if p > s.from && p < s.given && (after == 0 || s.at < after) {
				w.fault("%s was given position %d after %d: %s at %d is passed over", s.device, s.given, s.from, box[p].Content, p)
			}
		}
	}
}
