//go:build assertions || race

package gateway

// assertions: invariants are checked at the end of each critical section.
const assertions = true
