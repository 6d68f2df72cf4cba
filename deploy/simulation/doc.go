// Package simulation tries what no test had thought of: whole deployments in one process, under virtual time, on engines that
// misbehave as the real ones are documented to, with clients of every kind, thousands of runs a minute.
//
// # A run
//
// A run lives in one bubble of testing/synctest and is decided by its seed: Draw makes the Plan, Run runs it. The plan says who takes
// part (Shape), which faults happen when (Faults), and how often calls go wrong by themselves (Rates). Real services, made by their app
// packages, answer real HTTP requests, handed to their handlers without sockets: one to three messages services and as many poll
// gateways. Keys are left out, and of auth all but its revocations: a token here is a name, a session and a generation.
//
//   - store.go, sessions.go, mvcc.go: the store, as MongoDB is documented. All its documents have versions, so that a read may
//     come from an older state. What was acknowledged is kept; everything else may be anything.
//   - redis.go, revocations.go: the counters of inboxes and the stream of revocations. They are lost, set back, counted twice, taken over
//     by a replica that lags.
//   - bus.go: NATS. Events are lost, doubled, late, out of order; nodes are cut off and know it or not.
//   - world.go, process.go: processes, which die at any call, stand still for longer than all time-outs and go on, or are
//     stopped as an operator does; clocks that are apart and jump; restores from a backup, with a new epoch.
//   - senders.go, readers.go: clients that repeat themselves early and late, on two nodes at once, with other content, and when the
//     first id is just going; that read by cursor, by number, from the head, by session and by stream, go away for long, and die with an
//     answer in hand.
//   - logins.go: logins that are ended, one by one and all of an account, and whose tokens somebody goes on using: for polls that wait,
//     streams and histories.
//
// After Shape.Busy everything is healed. The senders finish, the readers read on until nothing more comes, and judge.go holds what
// everybody saw to what is promised: see historycheck, and the invariants about the store's inside there. Readers complain by
// themselves of answers that are late, of time-outs that come early, of resets without a new epoch, of sessions that are rewound.
//
// # The same again
//
// Each call to an engine takes a virtual time that is drawn from (seed, process, call, key, how manieth), and no two calls wake at
// the same instant. A process has one processor (GOMAXPROCS is 1). So what comes first is decided by the seed, and not by the scheduler.
// What is left to chance are maps' order, select, and the jitter of the gateway's timers: nearly all seeds that fail, fail again.
//
//	make simulate SEEDS=200000              that many new seeds
//	make simulate SIM_TIME=4m               as many as there is time for
//	make simulate SEED=1234                 that one again; it is shrunk to the fewest faults
//	make simulate SEED=1234 FAULTS=2,5 RATES=partial   only these of its faults and rates ("none" for none)
//
// FIRST_SEED and WORKERS say where to begin and on how many processes; TRACE=file writes down what happened, AGAIN=100 tells
// how often a seed fails in the same way.
//
// # Time that stands still
//
// In a bubble time goes on only when everybody waits, and somebody who waits for a mutex does not count. So code that holds a mutex
// while it asks an engine stops the run: it is ended after a minute, by a panic with all stacks.
package simulation
