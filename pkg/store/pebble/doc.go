// Package pebble stores everything in one folder, in a Pebble database. One process uses it at a time.
//
// # Keys
//
// A key begins with a byte for its table. Numbers are big-endian, so that keys sort like the numbers. Moments are Unix milliseconds in 8
// bytes with the sign bit flipped, days are such days in 4 bytes. Names are canonical and end with 0x00 if something follows. Keys are
// compared as bytes; the Bloom filters hold the part of each key before the bar (see comparer.go).
//
//	0x01                            the version of the schema, one byte
//	a name |                        an account
//	f name |                        the furthest position of an account's sessions, and its epoch
//	k name 00 | version(4)          a version of a user's key
//	s name 00 session |             a session's cursor
//	S | expires(8) name 00 session  when a session may be forgotten
//	z name |                        a value of Meta
//	v id(8) |                       a revocation
//	V | expires(8) id(8)            when a revocation may be forgotten
//	m id(12) |                      a message without its content: a row here decides the id
//	c expires(8) id(12) |           a message with its content
//	M | kept(8) id(12)              until when a message is kept
//	e user 00 | position(8)         an entry
//	p | due(8) user                 when entries of an inbox may be due: at least one row per day on which some are
//	t user |                        the highest position that was removed from an inbox
//
// Values begin with a byte for their layout (see values.go), except empty ones and single numbers.
//
// Reasons: message ids are practically random. Large contents have their own table, sorted by expiry, which is the order of sending unless
// messages have lifetimes of their own. So compactions need not merge them, messages sent one after the other are in the same blocks, and
// one range tombstone erases all expired contents. An entry holds its message's expiry and so locates the content: reading an inbox needs
// no lookup by id. One lookup tells whether an id is decided; for new ids, filters answer it in all levels but the lowest. Only the message
// says where its entries are, so an entry is one row. Purge finds what is due at the front of p, however many inboxes have nothing due.
//
// # Writes
//
// Writes take turns, but a turn only checks what exists and passes a batch to Pebble, which appends it to its log and makes it visible. The
// writes wait for the sync outside of their turns, so that concurrent ones share it. A read that meets data whose sync is outstanding waits
// for that sync: see pendingsync.go. Prepared entries are not synced on their own: see InsertEntries.
//
// # Failures
//
// If data cannot be read, because of a wrong checksum or a failing disk, the caller gets store.ErrUnavailable and the error is logged. If a
// write to the log or to the list of tables fails, it is unknown what is on the disk: the store has failed, every call returns
// store.ErrUnavailable from then on, and Failed reports it. The process has to end; the next one recovers from the log as after a power
// failure. A table that cannot be written is retried: its contents are in the log, and writes wait if that grows too large. A nearly full
// disk is detected before that: see Options.MinFree. While it is, writes return store.ErrUnavailable, reads go on, and the store recovers on
// its own. guard.go and disk.go implement this on Pebble.
//
// A wrong checksum near the end of a log counts as the result of a power failure: the log ends there. If a process was killed and a bit in
// the last 32 KiB of its log has changed when the next one starts, everything after it is lost without a report. A store that was closed
// has an empty log.
package pebble
