//go:build !assertions && !race

package gateway

// assertions: see invariants.go.
const assertions = false
