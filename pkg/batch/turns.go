package batch

import "context"

type ownerKey struct{}

// For returns a context by which Do runs items on behalf of owner. Owners take turns: nobody waits behind all that another one has handed in.
func For(ctx context.Context, owner string) context.Context {
	return context.WithValue(ctx, ownerKey{}, owner)
}

func ownerOf(ctx context.Context) string {
	owner, _ := ctx.Value(ownerKey{}).(string)
	return owner
}

// turns is a queue in which owners take turns. The requests of one owner keep their order.
type turns[T, R any] struct {
	// owners has each owner with a request waiting once, the next one first.
	owners []string
	lines  map[string]line[T, R]
	count  int
}

// line is a list of requests.
type line[T, R any] struct{ first, last *request[T, R] }

func (q *turns[T, R]) push(r *request[T, R]) {
	if q.lines == nil {
		q.lines = map[string]line[T, R]{}
	}
	l, waiting := q.lines[r.owner]
	if waiting {
		l.last.next = r
	} else {
		q.owners = append(q.owners, r.owner)
		l.first = r
	}
	l.last = r
	q.lines[r.owner] = l
	q.count++
}

// peek returns the next request; q must not be empty.
func (q *turns[T, R]) peek() *request[T, R] { return q.lines[q.owners[0]].first }

// pop removes the next request. Its owner goes to the end.
func (q *turns[T, R]) pop() {
	owner := q.owners[0]
	q.owners[0] = "" // release it
	q.owners = q.owners[1:]
	l := q.lines[owner]
	l.first, l.first.next = l.first.next, nil
	if q.count--; l.first == nil {
		delete(q.lines, owner)
		return
	}
	q.lines[owner] = l
	q.owners = append(q.owners, owner)
}
