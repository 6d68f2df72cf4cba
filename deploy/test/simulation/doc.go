// Package simulation runs whole deployments in one process, under virtual time, with engines that misbehave as the real ones are documented
// to and with clients of every kind: thousands of random runs a minute, to find failures that no test was written for.
//
// # A run
//
// A run lives in one testing/synctest bubble, and its seed decides it: Draw makes the Plan, Run executes it. The plan says who takes part
// (Shape), which faults happen when (Faults), and how often calls fail at random (Rates). Real services, made by their app packages, answer
// real HTTP requests, which go to their handlers without sockets: one to three messages services and as many poll gateways. Keys are left
// out, and all of auth but its revocations: a token here is a name, a session and a generation.
//
//   - store.go, storewrite.go, sessions.go, mvcc.go: the store, as MongoDB is documented. All documents have versions, so that a read may see an older
//     state. Acknowledged writes are kept; everything else may be anything.
//   - redis.go, revocations.go: the counters of inboxes and the stream of revocations. They are lost, set back, counted twice, or taken
//     over by a replica that lags.
//   - bus.go: NATS. Events are lost, duplicated, late, or out of order; nodes are cut off and know it or not.
//   - plan.go, shape.go: the Plan and its Shape, drawn from the seed.
//   - world.go, boot.go, inject.go, process.go: processes, which die at any call, pause for longer than all timeouts and go on, or are stopped as an operator
//     does; clocks that differ and jump; restores from a backup, with a new epoch.
//   - senders.go, readers.go, sessionreaders.go: clients. Senders repeat early and late, on two nodes at once, with other content, and just when the first id
//     is purged. Readers read by cursor, by position, from the head, by session and by stream; they go away for long, and die with an
//     answer in hand. promptness.go judges messages that come late.
//   - logins.go: logins that end, one by one and all of an account, while somebody keeps using their tokens for waiting polls, streams and
//     histories.
//
// After Shape.Busy all faults end. The senders finish, the readers read until nothing more comes, and judge.go checks what everybody saw
// against what is promised: see historycheck, and checkStore and checkInboxes for the store's invariants. Readers
// themselves report late answers, timeouts that come early, resets without a new epoch, and sessions that go back.
//
// # Reproducibility
//
// Each call to an engine takes a virtual time drawn from (seed, process, call, key, call number), and no two calls wake at the same
// instant. A process has one processor (GOMAXPROCS is 1). So the seed decides the order, not the scheduler. Map order, select, and the
// jitter of the gateway's timers remain random: nearly all seeds that fail, fail again.
//
//	make simulate SEEDS=200000              that many new seeds
//	make simulate SIM_TIME=4m               as many as that time allows
//	make simulate SEED=1234                 that seed again, shrunk to the fewest faults
//	make simulate SEED=1234 FAULTS=2,5 RATES=partial   only these of its faults and rates ("none" for none)
//
// FIRST_SEED is the first seed, WORKERS the number of processes; TRACE=file writes a trace, AGAIN=100 reports how often a seed fails in the
// same way. SHRINK=no keeps all faults of a seed that failed.
//
// # Virtual time and mutexes
//
// In a bubble, time advances only when every goroutine waits, and waiting for a mutex does not count. So code that holds a mutex while it
// asks an engine stops the run: a panic with all stacks ends it after a minute.
package simulation
