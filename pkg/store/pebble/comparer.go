package pebble

import (
	"bytes"

	engine "github.com/cockroachdb/pebble/v2"
)

// comparer orders keys as bytes, and splits off the part that the filters hold: the part used for lookups. For most keys that is the whole
// key, for an inbox its owner. Tables that are only scanned hold almost none.
//
// The store contains the comparer's name: a change of split needs another name.
var comparer = func() *engine.Comparer {
	c := *engine.DefaultComparer
	c.Name = "sealpost.v1"
	c.Split = split
	c.ImmediateSuccessor = successor
	return &c
}()

func split(key []byte) int {
	if len(key) == 0 {
		return 0
	}
	switch key[0] {
	case tableEntries, tableKeys:
		if end := bytes.IndexByte(key, 0); end > 0 {
			return end + 1
		}
	case tableSessionExpiry, tableRevocationExpiry, tableMessagePurge, tableEntryPurge:
		return 1
	}
	return len(key)
}

// successor appends the first prefix after a prefix.
func successor(dst, prefix []byte) []byte {
	if len(prefix) > 0 && split(append(prefix[:len(prefix):len(prefix)], 0)) == len(prefix) { // more bytes would be a suffix
		return append(dst, after(prefix)...)
	}
	return append(append(dst, prefix...), 0)
}

// after returns the first key after all keys with a prefix.
func after(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}
