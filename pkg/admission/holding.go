package admission

import (
	"math"
	"slices"
	"time"
)

// Owner is told when its holding gives way.
type Owner interface {
	// Displaced is called once, without a lock of the Pool. The holding is over by then. What it stood for should end soon.
	Displaced()
}

// Holding is what somebody holds of a Pool.
type Holding struct {
	pool   *Pool
	share  *share
	amount int64
	// owner is nil while the holding is fixed.
	owner Owner
	// since is when it was loosened first; 0 before.
	since time.Duration
	// recent is the progress up to the time at, of which older parts count less and less.
	recent float64
	at     time.Duration
	// index is its index among the share's holdings; -1 once the holding is over.
	index int
}

const over = -1

// Holder returns who holds it, or held it.
func (h *Holding) Holder() Holder {
	return Holder{User: h.share.user.name, Network: h.share.network.prefix}
}

// Grow takes n more, and reports whether there was room, or whether it could be made. It fails if the holding is over.
func (h *Holding) Grow(n int64) bool {
	var lost displaced
	h.pool.mu.Lock()
	// What makes room must not be this holding itself.
	owner := h.owner
	h.fix()
	grown := h.index != over && h.pool.takeLocked(h, n, &lost)
	if h.index != over && owner != nil {
		h.loosen(owner)
	}
	h.pool.mu.Unlock()
	h.pool.tell(lost)
	if !grown {
		h.pool.count.refused.Inc()
	}
	return grown
}

// Loosen lets the holding be displaced from now on: nothing is done for it but wait for its client.
func (h *Holding) Loosen(owner Owner) {
	h.pool.mu.Lock()
	defer h.pool.mu.Unlock()
	if h.index != over {
		h.loosen(owner)
	}
}

func (h *Holding) loosen(owner Owner) {
	if h.since == 0 {
		h.since = max(1, h.pool.now())
	}
	h.fix()
	h.owner = owner
	h.share.changeLoose(h.amount)
}

// Fix ends what Loosen began, and reports false if the holding was displaced meanwhile.
func (h *Holding) Fix() bool {
	h.pool.mu.Lock()
	defer h.pool.mu.Unlock()
	h.fix()
	return h.index != over
}

func (h *Holding) fix() {
	if h.owner != nil {
		h.owner = nil
		h.share.changeLoose(-h.amount)
	}
}

// Progress counts what its client has sent or taken: when several holdings of a user may give way, the slowest does.
func (h *Holding) Progress(n int64) {
	h.pool.mu.Lock()
	defer h.pool.mu.Unlock()
	now := h.pool.now()
	h.recent = h.recentAt(now) + float64(n)
	h.at = now
}

// recentAt is an exponentially weighted sum: what a client's kernel took at first says little of what the client does.
func (h *Holding) recentAt(now time.Duration) float64 {
	return h.recent * math.Exp(-(now-h.at).Seconds()/progressTime.Seconds())
}

// Release ends the holding. It may have been displaced before.
func (h *Holding) Release() {
	h.pool.mu.Lock()
	defer h.pool.mu.Unlock()
	if h.index != over {
		h.pool.forget(h)
	}
}

// change adds to a fixed holding.
func (h *Holding) change(n int64) {
	h.amount += n
	h.pool.held += n
	h.share.user.held += n
	h.share.network.held += n
}

// rate is the recent progress a second.
func (h *Holding) rate(now time.Duration) float64 { return h.recentAt(now) / progressTime.Seconds() }

// slower reports whether h gives way before other: it makes less progress, or is older.
func (h *Holding) slower(other *Holding, now time.Duration) bool {
	if a, b := h.rate(now), other.rate(now); a != b {
		return a < b
	}
	return h.since < other.since
}

// share is what a user holds from one network.
type share struct {
	rank
	pool     *Pool
	user     *user
	network  *network
	holdings []*Holding
}

func (s *share) add(h *Holding) {
	h.index = len(s.holdings)
	s.holdings = append(s.holdings, h)
}

func (s *share) remove(h *Holding) {
	last := len(s.holdings) - 1
	s.holdings[h.index] = s.holdings[last]
	s.holdings[h.index].index = h.index
	s.holdings[last] = nil
	s.holdings = s.holdings[:last]
	h.index = over
}

// changeLoose changes how much of the share may be displaced.
func (s *share) changeLoose(n int64) {
	s.network.shares.change(s, n)
	s.pool.heaviestNetworks.change(s.network, n)
	s.pool.heaviestUsers.change(s.user, n)
}

// slowest returns the loose holding that gives way first; nil if there is none.
func (s *share) slowest(now time.Duration) (found *Holding) {
	for _, h := range s.holdings {
		if h.owner != nil && (found == nil || h.slower(found, now)) {
			found = h
		}
	}
	return found
}

// user is what a user holds from all networks.
type user struct {
	rank
	name   string
	held   int64
	shares []*share
}

func (u *user) slowest(now time.Duration) (found *Holding) {
	for _, s := range u.shares {
		if h := s.slowest(now); h != nil && (found == nil || h.slower(found, now)) {
			found = h
		}
	}
	return found
}

func (u *user) remove(s *share) {
	at := slices.Index(u.shares, s)
	u.shares = slices.Delete(u.shares, at, at+1)
}

// network is what all users of a network hold.
type network struct {
	rank
	prefix Network
	held   int64
	shares *ranking[share]
}
