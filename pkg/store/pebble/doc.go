// Package pebble keeps the truth in one folder, in a Pebble database: the store of a single process.
//
// # Keys
//
// A key begins with a byte that names its table. Numbers are big-endian, so that keys are in the order of the numbers; moments are Unix
// milliseconds as 8 bytes with the sign bit flipped, days are such days as 4 bytes. Names are canonical and end with 0x00 where
// something follows. Keys are compared as bytes; what a Bloom filter holds of each is the part before the bar (see comparer.go).
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
//	m id(12) |                      a message without its content: what stands here decides the id
//	c expires(8) id(12) |           a message with its content
//	M | kept(8) id(12)              until when a message is kept
//	e user 00 | position(8)         an entry
//	p | due(8) user                 when entries of an inbox may be due: at least one a day on which some are
//	t user |                        the highest position that was removed from an inbox
//
// Values begin with a byte for their layout (see values.go); those that are empty or one number do not.
//
// Why so: the ids of messages are as good as random. What is large stands by itself, in the order of its expiry, which is that of its sending
// unless a message has a lifetime of its own: compactions do not have to merge it, messages that were sent one after the other are read
// from the same blocks, and one range tombstone erases all contents that have expired. An entry tells when its message expires, and so
// where its content is: who reads an inbox searches for no id. What decides an id is found with one search, which a filter answers for ids
// that are new in all levels but the lowest. Nothing tells where the entries of an id are but the message that names their places: an entry
// is one row. What is to be purged is found from the front of p, however many inboxes have nothing that is due.
//
// # Writes
//
// All writes take turns, but only to look at what is there and to hand a batch to Pebble, which appends it to its log and makes it
// visible. The sync is waited for outside, so that those who come together share one. A read that meets something whose sync is
// outstanding waits for that sync: see flights.go. Prepared entries are not synced on their own: see InsertEntries.
//
// # Failures
//
// What cannot be read, because a checksum is wrong or the disk fails, is store.ErrUnavailable for who asked, and is logged. What
// cannot be written to the log or to the list of tables leaves it open what is on the disk: the store has failed, every call is
// store.ErrUnavailable from then on, and Failed tells. The process has to end; the next one recovers from the log as after a power
// failure. A table that cannot be written is tried again; what was to be in it is in the log, and writes wait when there is too much of
// that. A disk that is nearly full is noticed before: see Options.MinFree. How that is done with Pebble: see guard.go.
//
// The end of a log is taken for what a power failure has left of it: where a checksum is wrong there, the log ends. If a bit of the last
// 32 KiB of a log is another when a process starts that follows one that was killed, what came after it is lost, and nobody is told. A
// store that was closed has nothing in its log.
package pebble
