// Package recent remembers what was used lately, in little memory.
package recent

// Map keeps the last entries that were used: at least limit of them, and at most twice as many. It holds two generations:
// when the younger one is full, it becomes the older one, and what was not used meanwhile is forgotten. So it needs neither
// pointers nor times, and who uses more than it holds loses by degrees, not all at once. Callers keep it to one at a time.
type Map[K comparable, V any] struct {
	limit      int
	young, old map[K]V
}

// New makes a Map. It takes memory as it fills.
func New[K comparable, V any](limit int) *Map[K, V] {
	return &Map[K, V]{limit: limit, young: map[K]V{}}
}

// Get returns what is known of k, which counts as a use.
func (m *Map[K, V]) Get(k K) (v V, ok bool) {
	if v, ok = m.young[k]; ok {
		return v, true
	}
	if v, ok = m.old[k]; ok {
		m.Put(k, v)
	}
	return v, ok
}

// Put sets what is known of k.
func (m *Map[K, V]) Put(k K, v V) {
	if _, there := m.young[k]; !there && len(m.young) >= m.limit {
		m.young, m.old = map[K]V{}, m.young
	}
	m.young[k] = v
}

// Len is how many entries are held; one that stands in both generations counts twice.
func (m *Map[K, V]) Len() int { return len(m.young) + len(m.old) }
