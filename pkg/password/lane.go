package password

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	// memory is for how long what somebody had counts, more or less.
	memory = 5 * time.Minute
	// mostRecords is how many networks, and how many addresses, a lane remembers: those that asked last, in a megabyte.
	mostRecords = 1 << 13
)

// lane is a part of the queue. The queue's lock guards it.
type lane struct {
	weight, pass float64
	// waiters are in the order they came.
	waiters             []*waiter
	networks, addresses records
}

func newLane(weight float64) *lane {
	return &lane{weight: weight, networks: newRecords(), addresses: newRecords()}
}

func (l *lane) add(w *waiter) {
	l.waiters = append(l.waiters, w)
	w.network.waiting++
	w.address.waiting++
}

func (l *lane) remove(w *waiter) {
	at := slices.Index(l.waiters, w)
	l.waiters = slices.Delete(l.waiters, at, at+1)
	w.network.waiting--
	w.address.waiting--
}

// lightest returns the waiter whose turn it is: of equal ones, the one that came first.
func (l *lane) lightest(now time.Time) *waiter {
	return slices.MinFunc(l.waiters, func(a, b *waiter) int {
		return cmp.Or(a.network.compareServed(b.network, now), a.address.compareServed(b.address, now))
	})
}

// heaviest returns the waiter that gives way: of equal ones, the one that came last.
func (l *lane) heaviest(now time.Time) *waiter {
	found := l.waiters[0]
	for _, w := range l.waiters[1:] {
		if cmp.Or(w.network.compareHeld(found.network, now), w.address.compareHeld(found.address, now)) >= 0 {
			found = w
		}
	}
	return found
}

// record is what a party has had and asked for lately, of which older parts count less and less.
type record struct {
	waiting       int
	served, asked float64
	at            time.Time
}

func (r *record) fade(now time.Time) {
	if now.Equal(r.at) {
		return
	}
	kept := math.Exp(-now.Sub(r.at).Seconds() / memory.Seconds())
	r.served, r.asked, r.at = r.served*kept, r.asked*kept, now
}

func (r *record) ask(now time.Time) {
	r.fade(now)
	r.asked++
}

func (r *record) serve(now time.Time) {
	r.fade(now)
	r.served++
}

// had is what was served, in whole turns: of two that had about the same, the one that asked less often is preferred. Requests alone must
// not decide: many people behind one address ask often.
func (r *record) had(now time.Time) float64 {
	r.fade(now)
	return math.Round(r.served)
}

func (r *record) compareServed(other *record, now time.Time) int {
	return cmp.Or(cmp.Compare(r.had(now), other.had(now)), cmp.Compare(r.asked, other.asked))
}

func (r *record) compareHeld(other *record, now time.Time) int {
	return cmp.Or(cmp.Compare(r.had(now)+float64(r.waiting), other.had(now)+float64(other.waiting)), cmp.Compare(r.asked, other.asked))
}

// records are of the parties that asked last.
type records struct {
	lru *simplelru.LRU[party, *record]
}

func newRecords() records {
	l, err := simplelru.NewLRU[party, *record](mostRecords, nil)
	if err != nil {
		panic(fmt.Sprintf("password: room for %d records", mostRecords))
	}
	return records{l}
}

// of returns the record of a party, which is new if it is not remembered.
func (rs records) of(p party) *record {
	r, known := rs.lru.Get(p)
	if !known {
		r = &record{at: time.Now()}
		rs.lru.Add(p, r)
	}
	return r
}
