// Package inbox is the inbox log: for each user a log of positions 1, 2, 3 …, each written once.
//
// It follows the shared-log design of CORFU (Balakrishnan et al., NSDI 2012): a sequencer hands out positions and may
// forget or repeat them; the store refuses to write a position twice, and that refusal alone is what correctness rests
// on. A send prepares one entry in each inbox and then commits all of them at once by inserting its message, so it
// reaches everybody or nobody.
//
// # Glossary
//
// These words mean the same in all of Sealpost: in code, logs, metrics, runbooks and decisions.
//
// The log:
//
//   - Inbox: what a user has received and sent, as a log. Position: a number in it, from 1.
//   - Entry: what stands at a position: the id of a message, and what only this recipient needs, such as the wrapped key.
//   - Message: the content, stored once for all recipients. It names the places (user, position) of its entries; an entry
//     that its message does not name does not count.
//   - Prepare: to write a send's entries. Commit: to insert its message, which makes them visible. Attempt: one try of a
//     send, with positions of its own.
//   - Repeat: a send with a client message id that was used before. Duplicate: its answer.
//   - Decided: nothing can change any more what a position holds: a message, or nothing (then it is empty). Undecided: a
//     write may still come. Only decided positions are told to clients.
//   - Hole: an entry that says that a position is empty, written where a writer has taken a position and not used it.
//   - Tombstone: what stands in a message's place, so that an attempt which is still under way cannot commit.
//   - Abort: to decide an undecided position as empty, after the hole timeout, by a hole or a tombstone.
//   - Tail: the highest position of an inbox in the store. Head: the highest position of a reader below which all is decided.
//   - Epoch: one history of the log. A restore begins another, and the positions of the old one mean nothing in it.
//   - Cursor: where a client has read to: epoch and position. Session cursor: the same, kept here for a client that keeps none.
//   - Offer: a position that a session without a cursor is being given; no other poll of the session is given it meanwhile.
//   - Expire: a message is no longer shown. Erase: its content is removed. Purge: the whole of it is. Retention: how long after
//     a send its entries and ids are kept at least.
//
// Positions:
//
//   - Sequencer: what hands positions out. Counter: its number for one inbox, in Redis.
//   - Raise: to set a counter to the tail of its inbox, when it is missing or may have gone back.
//   - Incarnation: a time in which the counters of a Redis server have not gone back.
//   - Mark: on MongoDB, a document that says which block of positions an inbox has reached.
//
// Delivery:
//
//   - Event: what a gateway is told of one position. Room: one event for all recipients of a message. Reference: an event
//     without its content. Hint: the names of users whose events may be lost; a gateway reads their inboxes from the store.
//   - Mailbox: what a gateway knows of one user's inbox while somebody polls. Ring: its last events. Reorder buffer: events
//     beyond the head. Gap: a position below an event that the head waits for.
//   - Waiter: a poll or a stream that waits at the head. Parked: its connection is kept without a goroutine.
//   - Resync: a read of the store for the waiters of a mailbox. Verify: to read the store though nothing says that an event was
//     lost. Stale: older than what was read before.
//   - Disruption: something may have been lost; no mailbox is trusted until the store was read again.
//   - Drain: to answer what waits and to take nothing new, before a process stops.
package inbox
