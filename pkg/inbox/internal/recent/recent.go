// Package recent keeps recently used entries in little memory.
package recent

// Map keeps the most recently used entries: at least limit, and at most twice as many. It holds two generations. When the young one is
// full, it becomes the old one, and the previous old one is dropped. So it needs neither pointers nor times, and a caller that uses more
// entries than it holds loses them gradually. Not safe for concurrent use.
type Map[K comparable, V any] struct {
	limit      int
	young, old map[K]V
}

// New makes a Map. Its memory grows as it fills.
func New[K comparable, V any](limit int) *Map[K, V] {
	return &Map[K, V]{limit: limit, young: map[K]V{}}
}

// Get returns the value of k. This counts as a use.
func (m *Map[K, V]) Get(k K) (v V, ok bool) {
	if v, ok = m.young[k]; ok {
		return v, true
	}
	if v, ok = m.old[k]; ok {
		m.Put(k, v)
	}
	return v, ok
}

// Put sets the value of k.
func (m *Map[K, V]) Put(k K, v V) {
	if _, there := m.young[k]; !there && len(m.young) >= m.limit {
		m.young, m.old = map[K]V{}, m.young
	}
	m.young[k] = v
}

// Len returns how many entries are held; one in both generations counts twice.
func (m *Map[K, V]) Len() int { return len(m.young) + len(m.old) }
