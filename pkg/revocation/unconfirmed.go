package revocation

import "time"

// confirmedBy is how often the log must report that it has delivered everything before an accepted but undelivered record counts as lost.
// The first report may come from a read before the accept.
const confirmedBy = 2

// unconfirmed has the records that were appended here and that the log has not delivered yet. If a log accepts a record and loses it
// before any node has read it, its followers cannot see that anything happened.
type unconfirmed map[identity]*appended

// identity identifies a record.
type identity struct {
	tokenID, subject string
	generation       int64
}

func (r Record) identity() identity { return identity{r.TokenID, r.Subject, r.MinGeneration} }

type appended struct {
	expiresAt time.Time
	// taken: the log has accepted it. said: how often it has reported since then that it has delivered everything.
	taken bool
	said  int
}

// begin notes a record that is about to be appended.
func (u unconfirmed) begin(r Record) { u[r.identity()] = &appended{expiresAt: r.ExpiresAt} }

// took notes that the log has accepted a record, and perhaps delivered it already.
func (u unconfirmed) took(r Record) {
	if a := u[r.identity()]; a != nil {
		a.taken = true
	}
}

// end forgets a record: the log has delivered it, or has not accepted it.
func (u unconfirmed) end(r Record) { delete(u, r.identity()) }

// current notes that the log has delivered everything. It returns the records that the log has lost, and forgets them.
func (u unconfirmed) current(now time.Time) (lost []identity) {
	for id, a := range u {
		if !a.expiresAt.After(now) {
			delete(u, id)
			continue
		}
		if !a.taken {
			continue
		}
		if a.said++; a.said >= confirmedBy {
			lost = append(lost, id)
			delete(u, id)
		}
	}
	return lost
}
