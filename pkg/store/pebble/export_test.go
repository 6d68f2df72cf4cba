package pebble

import engine "github.com/cockroachdb/pebble/v2"

// Engine is the database of a store.
func (s *Store) Engine() *engine.DB { return s.db }

// UnderWay is how many writes are visible whose syncs are outstanding.
func (s *Store) UnderWay() int64 { return s.flights.count.Load() }
