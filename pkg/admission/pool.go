package admission

import (
	"container/heap"
	"sync"
	"time"
)

// Config describes a Pool. Sizes are in a unit of the caller's choice: bytes, polls, pages.
type Config struct {
	// Size is how much there is.
	Size int64
	// Reserve is how much of Size only small holders may take: users who then hold no more than Small. Without it, work that cannot be
	// interrupted could leave no room for those who need little.
	Reserve, Small int64
	// UserMost is the most that one user may hold beside a first holding of any size; 0 for no bound.
	UserMost int64
	// LeastRate is how much progress a second a loose holding must make, beyond its first moment. One that makes less gives way to a user who
	// holds nothing, whoever it belongs to. 0 asks for none.
	LeastRate int64
}

const (
	// graceTime is the age from which the progress of a holding is judged.
	graceTime = 100 * time.Millisecond
	// progressTime is for how long progress counts, more or less. What kernels buffer of an answer that nobody reads is forgotten in a second.
	progressTime = 250 * time.Millisecond
)

// Pool is a bounded resource that its holders share fairly. Its methods and those of its Holdings may be called concurrently.
//
// While there is room, everybody gets what they ask for. When there is none, somebody who holds less may displace a loose holding of the one
// who holds most: first by user, and among users with equal amounts by network. This is the buffer stealing of stochastic fairness queueing
// (McKenney, INFOCOM 1990) with two classifications.
type Pool struct {
	cfg   Config
	count counters
	start time.Time

	mu       sync.Mutex
	held     int64
	users    map[string]*user
	networks map[Network]*network
	// heaviestUsers and heaviestNetworks are ordered by what may be displaced.
	heaviestUsers    *ranking[user]
	heaviestNetworks *ranking[network]
	// waiting are the users of whom a request waits: see Await.
	waiting map[string]struct{}
}

// New makes a Pool that nothing measures: see Metrics.Pool for one that is.
func New(cfg Config) *Pool { return (*Metrics)(nil).Pool("", cfg) }

func newPool(cfg Config, count counters) *Pool {
	return &Pool{
		cfg: cfg, count: count, start: time.Now(), users: map[string]*user{}, networks: map[Network]*network{}, waiting: map[string]struct{}{},
		heaviestUsers:    newRanking(func(u *user) *rank { return &u.rank }),
		heaviestNetworks: newRanking(func(n *network) *rank { return &n.rank }),
	}
}

// Size returns how much there is.
func (p *Pool) Size() int64 { return p.cfg.Size }

// Held returns how much is taken.
func (p *Pool) Held() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held
}

// Take takes n for a holder, and returns nil if there is no room. The holding is fixed: nobody displaces it before it is loosened.
func (p *Pool) Take(who Holder, n int64) *Holding {
	h := p.take(who, n)
	if h == nil {
		p.count.refused.Inc()
	}
	return h
}

func (p *Pool) take(who Holder, n int64) *Holding {
	h := &Holding{pool: p}
	var lost displaced
	p.mu.Lock()
	h.share = p.shareOf(who)
	h.share.add(h)
	taken := p.takeLocked(h, n, &lost)
	if !taken {
		p.forget(h)
	}
	p.mu.Unlock()
	p.tell(lost)
	if !taken {
		return nil
	}
	return h
}

// HasRoom reports whether Take would find room, or somebody who gives way, without taking anything.
func (p *Pool) HasRoom(who Holder, n int64) bool {
	h := &Holding{pool: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	h.share = p.shareOf(who)
	h.share.add(h)
	defer p.forget(h)
	size, allowed := p.sizeFor(h.share, n)
	return allowed && (p.held+n <= size || p.victim(h.share, n) != nil)
}

// sizeFor returns how much of the Pool may be taken in all when n more are for a share, and whether its user may have them.
func (p *Pool) sizeFor(s *share, n int64) (size int64, allowed bool) {
	held := s.user.held
	if most := p.cfg.UserMost; most > 0 && held > 0 && held+n > most {
		return 0, false
	}
	if held+n > p.cfg.Small {
		return p.cfg.Size - p.cfg.Reserve, true
	}
	return p.cfg.Size, true
}

// takeLocked adds n to a holding if there is room, or if it can be made.
func (p *Pool) takeLocked(h *Holding, n int64, lost *displaced) bool {
	size, allowed := p.sizeFor(h.share, n)
	if !allowed {
		return false
	}
	for p.held+n > size {
		victim := p.victim(h.share, n)
		if victim == nil {
			return false
		}
		*lost = append(*lost, victim.owner)
		p.forget(victim)
	}
	h.change(n)
	return true
}

// victim returns the holding that gives way to n more for a share's user; nil if there is none.
func (p *Pool) victim(to *share, n int64) *Holding {
	after := to.user.held + n
	if top := p.heaviestUsers.top(); top != nil && after < top.loose {
		if h := top.slowest(p.now()); h != nil {
			return h
		}
	}
	if top := p.heaviestNetworks.top(); top != nil && to.network.held+n < top.loose {
		if s := top.shares.top(); s != nil && after <= s.loose {
			return s.slowest(p.now())
		}
	}
	if to.user.held == 0 && p.cfg.LeastRate > 0 {
		return p.stalled(to.user)
	}
	return nil
}

// stalled returns the slowest holding of another user than to, if it is too slow.
func (p *Pool) stalled(to *user) *Holding {
	now := p.now()
	var found *Holding
	for _, u := range p.heaviestUsers.items { // only few pools ask for progress, and theirs have few holders
		if u == to || u.loose == 0 {
			continue
		}
		if h := u.slowest(now); h != nil && now-h.since >= graceTime && (found == nil || h.slower(found, now)) {
			found = h
		}
	}
	if found == nil || found.rate(now) >= float64(p.cfg.LeastRate) {
		return nil
	}
	return found
}

func (p *Pool) now() time.Duration { return time.Since(p.start) }

// displaced are owners to be told, once the Pool is unlocked.
type displaced []Owner

func (p *Pool) tell(lost displaced) {
	for _, owner := range lost {
		p.count.displaced.Inc()
		owner.Displaced()
	}
}

// shareOf returns the share of a holder.
func (p *Pool) shareOf(who Holder) *share {
	u := p.users[who.User]
	if u == nil {
		u = &user{name: who.User}
		p.users[who.User] = u
		heap.Push(p.heaviestUsers, u)
	}
	for _, s := range u.shares {
		if s.network.prefix == who.Network {
			return s
		}
	}
	n := p.networks[who.Network]
	if n == nil {
		n = &network{prefix: who.Network, shares: newRanking(func(s *share) *rank { return &s.rank })}
		p.networks[who.Network] = n
		heap.Push(p.heaviestNetworks, n)
	}
	s := &share{pool: p, user: u, network: n}
	u.shares = append(u.shares, s)
	heap.Push(n.shares, s)
	return s
}

// forget ends a holding, and forgets its holder if that was all.
func (p *Pool) forget(h *Holding) {
	h.fix()
	h.change(-h.amount)
	s := h.share
	s.remove(h)
	if len(s.holdings) > 0 {
		return
	}
	u, n := s.user, s.network
	heap.Remove(n.shares, s.index)
	if n.shares.Len() == 0 {
		heap.Remove(p.heaviestNetworks, n.index)
		delete(p.networks, n.prefix)
	}
	u.remove(s)
	if len(u.shares) == 0 {
		heap.Remove(p.heaviestUsers, u.index)
		delete(p.users, u.name)
	}
}
