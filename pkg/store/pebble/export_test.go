package pebble

import engine "github.com/cockroachdb/pebble/v2"

// Engine returns the store's database.
func (s *Store) Engine() *engine.DB { return s.db }

// UnderWay returns how many visible writes have outstanding syncs.
func (s *Store) UnderWay() int64 { return s.syncs.count.Load() }
