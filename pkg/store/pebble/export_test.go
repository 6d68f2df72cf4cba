package pebble

import engine "github.com/cockroachdb/pebble/v2"

// Engine is the database of a store.
func (s *Store) Engine() *engine.DB { return s.db }
