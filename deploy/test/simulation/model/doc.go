// Package model is a model of the inbox log's protocol, small enough to try every run of it.
//
// The explorer begins with an empty log and takes every possible step from every state that it reaches, until there are no new states. In
// each state it checks the promises to clients (invariants.go). If one is broken, it prints the shortest path there. The length of a run is
// not bounded: the result holds for all runs of a Setup, however writers, readers, retention and accidents interleave.
//
// # What it covers
//
//	here                          in the code
//	store.go                      store.Log: InsertEntries, InsertMessages, Keep; judge of pkg/inbox/walk.go
//	writer.go: begin … end        pkg/inbox/writer.go: Append, attempt, prepare, place
//	resolve, nextAttempt,         pkg/inbox/resolve.go: resolve, passTombstone,
//	giveUp, tombstoneArrives      failed, abort
//	sequencer.go                  pkg/inbox: positions.go, counters.go (Take, judge), tails.go; redisseq
//	reader.go: readerSteps        pkg/inbox/reader.go: scan, scanRun, abortPrepared
//	note                          keep of pkg/inbox/walk.go, keepPassed of pkg/inbox/head.go
//	passGap, skip                 scanGap, passGap, fillHoles
//	beginLatest                   after=latest in the gateway
//	takeEvents                    the gateway's mailbox, which is told what an acknowledged send announces
//	retention.go                  TTL indexes of MongoDB, Purge of Pebble
//
// Time is left out except for the retention: what may happen after a timeout may happen at any moment. So a writer gives up at any time,
// and a reader aborts what is undecided as soon as it meets it. That the reader waits longer than the writer makes sends succeed; the
// promises do not depend on it. A writer that dies, or is paused for long, just takes no more steps. What it has sent to the store is then
// still under way, and is applied at any later moment, one document at a time, in any order, or never: just as a bulk write whose answer is
// lost.
//
// In most setups the sequencer gives any position at any time, taken or not: no sequencer can do worse. The setups with a counter check the
// one promise that depends on it: a message never stands before one that was acknowledged when it was sent. There the counter also skips
// positions, as if other writers had taken them and died.
//
// In the setups with retention a clock ticks. A tick is longer than anything that is under way (rule NothingUnderWayIsOld), and by its end
// the store has removed what was due.
//
// Promises are about what all readers of an inbox together were told since the beginning (state.told). That readers never get stuck is
// checked on the graph of states: from each, steps of readers alone lead to a state in which all have read up to the tail.
//
// A send written in one step (store.Committer) is here a send whose steps happen to be consecutive.
//
// # What it leaves out
//
// Reads are one step, and never stale; an abort covers one position. History pages, read marks, the sender's own entry, sessions and their
// cursors, epochs and restores, a tail that is too high (MongoDB's blocks), clocks that differ, and durations are left out. A client
// message id has at most two message ids, an inbox three or four positions, a run two or three writers and at most two readers. The
// simulator beside this package tries more of everything, but not all runs.
//
// # How to read it
//
// state.go holds the state, machine.go the steps, rules.go the rules that can be broken, setups.go what is explored. The rest can be read
// in any order. A step takes a state by value and passes on the changed one.
package model
