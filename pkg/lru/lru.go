// Package lru makes caches that keep what was used most recently.
package lru

import (
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Cache keeps the entries that were used most recently. It is safe for concurrent use.
type Cache[K comparable, V any] = lru.Cache[K, V]

// New makes a Cache of at most size entries. It panics if size is below 1: sizes are constants.
func New[K comparable, V any](size int) *Cache[K, V] {
	c, err := lru.New[K, V](size)
	if err != nil {
		panic(fmt.Sprintf("lru: a cache of %d entries", size))
	}
	return c
}
