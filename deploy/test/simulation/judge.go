package simulation

import (
	"slices"
	"strings"
	"time"

	"github.com/sealpost/sealpost/deploy/test/blackbox/historycheck"
	"github.com/sealpost/sealpost/pkg/store"
)

// judge checks what everybody saw against what is promised, epoch by epoch.
func (w *world) judge() historycheck.Report {
	last := "@" + w.epoch()
	check := historycheck.Check
	if slices.ContainsFunc(w.plan.Faults, func(f Fault) bool { return f.Kind == redisSplit }) {
		check = historycheck.CheckUnordered // two masters at once: see deploy/decisions/positions.md
	}
	byEpoch := map[string][]historycheck.Answer{}
	for _, a := range w.answers {
		user, epoch, _ := strings.Cut(a.Reader, "@")
		a.Reader = user
		byEpoch["@"+epoch] = append(byEpoch["@"+epoch], a)
	}
	for epoch, answers := range byEpoch {
		if epoch == last {
			continue
		}
		report := check(w.history(false), answers)
		for _, f := range report.Faults {
			w.fault("%s: %s", epoch, f)
		}
	}
	report := check(w.history(true), byEpoch[last])
	for _, f := range report.Faults {
		w.fault("%s", f)
	}
	w.checkSessions(byEpoch[last], w.history(true))
	w.checkStore(byEpoch[last])
	return report
}

// history returns the senders' attempts and their answers. Answers from before a restore count only if the backup had the message; nothing
// of a past epoch needs to be delivered.
func (w *world) history(last bool) []historycheck.Attempt {
	list := make([]historycheck.Attempt, len(w.attempts))
	for i, a := range w.attempts {
		gone := a.GoneAfter - int64(w.skew())
		if a.GoneAfter == 0 || (w.plan.Shape.Retention > 24*time.Hour && w.sends[first(a.Content)].expires == 0) {
			gone = 0
		} else {
			gone = max(gone, 1)
		}
		a.GoneAfter = gone
		committed, there := w.store.committed[a.Content]
		if there {
			a.Committed = at(committed, w)
		}
		if w.restored > 0 && (!there || a.Committed > a.Ended) {
			a.Acknowledged, a.MessageID = false, ""
		}
		a.Recipients = slices.DeleteFunc(slices.Clone(a.Recipients), func(user string) bool { return !w.member(user) })
		if !last {
			a.Acknowledged, a.MessageID, a.GoneAfter = false, "", 1
			a.Committed = 0 // it may be committed in this epoch and again in a later one
		}
		list[i] = a
	}
	return list
}

// skew is the largest difference between clocks.
func (w *world) skew() time.Duration { return w.highest - w.lowest }

// checkStore compares the store's contents at the end with what readers were told.
func (w *world) checkStore(answers []historycheck.Answer) { //nolint:gocyclo // a list of what is to be held
	seen := map[string]map[string]int64{}
	for _, a := range answers {
		for _, m := range a.Messages {
			if seen[a.Reader] == nil {
				seen[a.Reader] = map[string]int64{}
			}
			seen[a.Reader][m.MessageID] = m.Position
		}
	}
	d := w.store.data
	for user, t := range d.inboxes {
		for _, r := range t.rows {
			if r.to != 0 {
				continue
			}
			m, there := d.message(r.value.Message, d.last)
			e := r.value
			switch {
			case e.Kind == store.Hole || !e.ExpiresAt.After(time.Now().Add(w.skew())):
			case !there:
				w.fault("%s: position %d is prepared for ever", user, e.Position)
			case e.Kind == store.Received && !m.Tombstone && m.Names(&e) && w.member(user):
				if p, told := seen[user][sent(e.Message.String(), m.Content)]; !told || p != e.Position {
					w.fault("%s: %s stands at %d, and readers saw it at %d", user, m.Content, e.Position, p)
				}
			}
		}
	}
	w.checkInboxes()
	for id, n := range w.store.reads {
		w.counts["store-reads"] += n
		if n > mostReads {
			w.fault("process %d made %d reads", id, n)
		}
	}
}

// checkInboxes requires that acknowledged messages stand in the inboxes of all their recipients at the places that they name, even where
// nobody reads.
func (w *world) checkInboxes() {
	for _, a := range w.history(true) {
		if !a.Acknowledged || a.GoneAfter != 0 {
			continue
		}
		id, err := store.ParseMessageID(a.MessageID)
		if err != nil {
			w.fault("%q was acknowledged as a message", a.MessageID)
		}
		m, _ := w.store.data.message(id, w.store.data.last)
		for _, user := range w.sends[first(a.Content)].recipients {
			r := w.store.data.inbox(user).standing(m.PositionOf(user), w.store.data.last)
			if r == nil || r.value.Message != id {
				w.fault("%s of %s was acknowledged, and stands not in the inbox of %s", a.Key, a.Sender, user)
				break
			}
		}
	}
}

// mostReads is more reads than a process makes in a run without a busy loop.
const mostReads = 20_000

// member reports whether user is one of the plan's users, who all have a reader.
func (w *world) member(user string) bool {
	for u := range w.plan.Shape.Users {
		if userName(u) == user {
			return true
		}
	}
	return false
}
