package inbox

import (
	"context"
	"slices"
	"sync"
)

// turns lets one caller at a time have a user. The zero value is ready for use.
type turns struct {
	mu    sync.Mutex
	users map[string]*turn
}

// turn is what those wait for who want the same user.
type turn struct {
	free  chan struct{} // holds one token while nobody has the user
	count int           // who has it or waits for it
}

// take waits until the caller has all users, or ctx ends. Callers take them in one order, so that none waits for another in
// a circle.
func (t *turns) take(ctx context.Context, users []string) (release func(), err error) {
	sorted := slices.Sorted(slices.Values(users))
	var had []*turn
	release = func() {
		for i, one := range had {
			one.free <- struct{}{}
			t.leave(sorted[i], one)
		}
	}
	for _, user := range sorted {
		one := t.enter(user)
		select {
		case <-one.free:
			had = append(had, one)
		case <-ctx.Done():
			t.leave(user, one)
			release()
			return nil, ctx.Err()
		}
	}
	return release, nil
}

func (t *turns) enter(user string) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.users == nil {
		t.users = map[string]*turn{}
	}
	one := t.users[user]
	if one == nil {
		one = &turn{free: make(chan struct{}, 1)}
		one.free <- struct{}{}
		t.users[user] = one
	}
	one.count++
	return one
}

func (t *turns) leave(user string, one *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.count--; one.count == 0 {
		delete(t.users, user)
	}
}
