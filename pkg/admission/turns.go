package admission

import (
	"context"
	"slices"
	"sync"
)

// Turns bounds how much work is under way at once, where nobody knows before how much a piece of it takes. Those who wait take turns, by network
// and within a network by user, so that nobody waits for more than one piece of work of each other (round-robin, as in Nagle's fair queueing,
// RFC 970). Its methods may be called concurrently.
type Turns struct {
	mu   sync.Mutex
	free int
	// networks are those of which somebody waits. The first is next.
	networks []*networkTurn
}

// networkTurn has the users of a network who wait. The first is next.
type networkTurn struct {
	prefix Network
	users  []*userTurn
}

// userTurn has what of a user waits, oldest first. Each channel is closed at its turn.
type userTurn struct {
	name    string
	waiting []chan struct{}
}

// NewTurns makes Turns for so many pieces of work at once.
func NewTurns(atOnce int) *Turns { return &Turns{free: atOnce} }

// Take waits for a holder's turn and returns what ends it, or the context's error.
func (t *Turns) Take(ctx context.Context, who Holder) (release func(), err error) {
	turn := t.enqueue(who)
	if turn == nil {
		return t.release, nil
	}
	select {
	case <-turn:
		return t.release, nil
	case <-ctx.Done():
	}
	if !t.cancel(who, turn) { // its turn came meanwhile
		t.release()
	}
	return nil, ctx.Err()
}

// enqueue returns what to wait for; nil if there is a place at once.
func (t *Turns) enqueue(who Holder) chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 {
		t.free--
		return nil
	}
	n := t.network(who.Network)
	if n == nil {
		n = &networkTurn{prefix: who.Network}
		t.networks = append(t.networks, n)
	}
	u := n.user(who.User)
	if u == nil {
		u = &userTurn{name: who.User}
		n.users = append(n.users, u)
	}
	turn := make(chan struct{})
	u.waiting = append(u.waiting, turn)
	return turn
}

// release passes a place on.
func (t *Turns) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.networks) == 0 {
		t.free++
		return
	}
	n := t.networks[0]
	u := n.users[0]
	close(u.waiting[0])
	u.waiting = u.waiting[1:]
	n.users = rotate(n.users, len(u.waiting) > 0)
	t.networks = rotate(t.networks, len(n.users) > 0)
}

// rotate moves the first item to the end, or removes it.
func rotate[T any](items []T, keep bool) []T {
	first := items[0]
	items = items[1:]
	if keep {
		items = append(items, first)
	}
	return items
}

// cancel reports whether something still waited, and waits no more.
func (t *Turns) cancel(who Holder, turn chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.network(who.Network)
	if n == nil {
		return false
	}
	u := n.user(who.User)
	if u == nil {
		return false
	}
	at := slices.Index(u.waiting, turn)
	if at < 0 {
		return false
	}
	if u.waiting = slices.Delete(u.waiting, at, at+1); len(u.waiting) > 0 {
		return true
	}
	n.users = slices.DeleteFunc(n.users, func(other *userTurn) bool { return other == u })
	if len(n.users) == 0 {
		t.networks = slices.DeleteFunc(t.networks, func(other *networkTurn) bool { return other == n })
	}
	return true
}

// network returns one of which somebody waits; nil if nobody does.
func (t *Turns) network(prefix Network) *networkTurn {
	at := slices.IndexFunc(t.networks, func(n *networkTurn) bool { return n.prefix == prefix })
	if at < 0 {
		return nil
	}
	return t.networks[at]
}

// user returns one of whom something waits; nil if nothing does.
func (n *networkTurn) user(name string) *userTurn {
	at := slices.IndexFunc(n.users, func(u *userTurn) bool { return u.name == name })
	if at < 0 {
		return nil
	}
	return n.users[at]
}
