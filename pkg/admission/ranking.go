package admission

import "container/heap"

// rank is the place of something in a ranking.
type rank struct {
	// loose is how much of it may be displaced.
	loose int64
	index int
}

// ranking is a heap with the heaviest on top. It implements heap.Interface.
type ranking[T any] struct {
	items []*T
	rank  func(*T) *rank
}

func newRanking[T any](of func(*T) *rank) *ranking[T] { return &ranking[T]{rank: of} }

func (r *ranking[T]) Len() int { return len(r.items) }

func (r *ranking[T]) Less(i, k int) bool { return r.rank(r.items[i]).loose > r.rank(r.items[k]).loose }

func (r *ranking[T]) Swap(i, k int) {
	r.items[i], r.items[k] = r.items[k], r.items[i]
	r.rank(r.items[i]).index, r.rank(r.items[k]).index = i, k
}

// Push implements heap.Interface.
func (r *ranking[T]) Push(x any) {
	item := x.(*T) //nolint:forcetypeassert // only this package pushes
	r.rank(item).index = len(r.items)
	r.items = append(r.items, item)
}

// Pop implements heap.Interface.
func (r *ranking[T]) Pop() any {
	last := len(r.items) - 1
	item := r.items[last]
	r.items[last] = nil
	r.items = r.items[:last]
	return item
}

// top returns the heaviest; nil if there is none.
func (r *ranking[T]) top() *T {
	if len(r.items) == 0 {
		return nil
	}
	return r.items[0]
}

// change adds n to what of an item may be displaced.
func (r *ranking[T]) change(item *T, n int64) {
	at := r.rank(item)
	at.loose += n
	heap.Fix(r, at.index)
}
