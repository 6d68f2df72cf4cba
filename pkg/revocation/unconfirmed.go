package revocation

import "time"

// confirmedBy is how often the log may say that it has handed over everything before a record that it took counts as lost. The first
// time it may have been looking before it took the record.
const confirmedBy = 2

// unconfirmed are the records that were appended here and that the log has not handed over yet. A log that took one and lost it before
// any node had read it looks, to all that follow it, as if nothing had happened.
type unconfirmed map[identity]*appended

// identity tells a record from others.
type identity struct {
	tokenID, subject string
	generation       int64
}

func (r Record) identity() identity { return identity{r.TokenID, r.Subject, r.MinGeneration} }

type appended struct {
	expiresAt time.Time
	// taken: the log has taken it, and since then has said so often that it has handed over everything.
	taken bool
	said  int
}

// begin notes a record that is about to be appended.
func (u unconfirmed) begin(r Record) { u[r.identity()] = &appended{expiresAt: r.ExpiresAt} }

// took notes that the log has taken a record. It may have handed it over by then.
func (u unconfirmed) took(r Record) {
	if a := u[r.identity()]; a != nil {
		a.taken = true
	}
}

// end forgets a record: the log has handed it over, or has not taken it.
func (u unconfirmed) end(r Record) { delete(u, r.identity()) }

// current notes that the log has handed over everything, and returns what it has lost, which is forgotten here.
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
