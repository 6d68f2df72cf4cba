// Package enginetest gives tests the addresses of real engines. See deploy/test/engines, which starts them.
package enginetest

import (
	"os"
	"testing"
)

// The variables that hold the engines' addresses.
const (
	Mongo = "MONGODB_URI"
	Redis = "REDIS_URL"
	NATS  = "NATS_URL"
)

// URL returns the address of an engine. Without an address the test fails if SEALPOST_ENGINES is "required", as in `make
// test-engines`, and is skipped otherwise.
func URL(t testing.TB, variable string) string {
	t.Helper()
	url := os.Getenv(variable)
	if url == "" && os.Getenv("SEALPOST_ENGINES") == "required" {
		t.Fatalf("%s is not set", variable)
	}
	if url == "" {
		t.Skipf("%s is not set: run the tests by `make test-engines`", variable)
	}
	return url
}
