// Package model is a model of the inbox log's protocol, small enough for every run of it to be tried.
//
// The explorer begins with an empty log and takes every step that anybody can take, from every state that it comes to, until there
// are no new states. In each it asks whether the promises to clients hold (invariants.go). If one does not, it prints the shortest way
// there. There is no bound on the length of a run: what it says holds for all runs of a Setup, however writers, readers, retention and
// accidents interleave.
//
// # What is in it
//
//	here                          in the code
//	store.go                      store.Log: InsertEntries, InsertMessages, Keep; judge of pkg/inbox/walk.go
//	writer.go: begin … end        pkg/inbox/writer.go: Append, attempt, prepare, place
//	resolve, nextAttempt,         resolve, passTombstone,
//	giveUp, tombstoneArrives      failed, settle
//	sequencer.go                  pkg/inbox/positions.go: counted, verify, seeded, passTail, afterTails; redisseq
//	reader.go: readerSteps        pkg/inbox/reader.go: scan, scanRun, settlePrepared
//	note                          keep of pkg/inbox/walk.go, keepPassed of pkg/inbox/head.go
//	passGap, skip                 scanGap, passGap, settleHoles
//	beginLatest                   after=latest in the gateway
//	takeEvents                    the gateway's mailbox, which is told what an acknowledged send announces
//	retention.go                  TTL indexes of MongoDB, Purge of Pebble
//
// Time is left out but for the retention: whatever may happen after a time-out may happen at any moment. So a writer gives up whenever
// it likes, and a reader settles what is undecided as soon as it meets it; that the reader waits for longer than the writer makes
// sends succeed, not the promises hold. A writer that dies, or is paused for long, just takes no more steps. What it has sent to the
// store is then still on its way, and is applied at any later moment, one document at a time, in any order, or never: that is what a
// bulk write is whose answer is lost.
//
// In most setups the sequencer gives any position at any time, taken or not: no sequencer can do worse. The setups with a counter
// check the one thing that rests on it, that a message never stands before one that had been acknowledged when it was sent.
// There the counter also skips positions, for other writers may have taken them and died.
//
// In the setups with retention a clock ticks. A tick is longer than anything that is under way (rule NothingUnderWayIsOld), and by then
// the store has removed what was due.
//
// Promises speak of what readers were told, all readers of an inbox together, since the beginning (state.told). That readers are never
// stuck is checked on the graph of states: from each, the steps of readers alone lead to one in which all have read up to the tail.
//
// A send that is written in one step (store.Committer) is here one whose steps happen to come one after the other.
//
// # What is not in it
//
// Reads are one step, and never older than the question; a settled hole is one position. History pages, read marks, the sender's own
// entry, sessions and their cursors, epochs and restores, a tail that is given too high (MongoDB's blocks), clocks that differ, and
// the time that anything takes. A client message id goes through two ids, an inbox has three or four positions, a run two or three
// writers and no more than two readers. The simulator beside this package tries more of everything, but not all runs.
//
// # To read it
//
// state.go says what there is, machine.go how steps are made, rules.go what can be broken, setups.go what is explored. The rest can be
// read in any order. A step takes a state by value and hands the changed one on.
package model
